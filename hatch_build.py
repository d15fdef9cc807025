"""Build hook of the wheel: face networks, which are not in the repository."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FacesBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Hook that fetches the face networks before the files of the wheel are collected."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch the networks; an editable installation works without them, apart from faces."""
        sys.path.insert(0, str(Path(self.root) / "scripts"))
        import fetch_faces

        try:
            fetch_faces.main()
        except (RuntimeError, ImportError, OSError) as error:
            if version != "editable":
                raise
            self.app.display_warning(f"no face networks ({error}); later run: python scripts/fetch_faces.py")
