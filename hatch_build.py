"""Build hook of the wheel: face networks and onnxruntime-web, which are not in the repository."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FilesBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Hook that fetches these files before those of the wheel are collected."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch the files.

        An editable installation works without any of them, and a wheel without onnxruntime-web, since npm is not
        everywhere: then `fer-edge web` does not.
        """
        sys.path.insert(0, str(Path(self.root) / "scripts"))
        import fetch_faces
        import fetch_onnxruntime_web

        try:
            fetch_faces.main()
        except (RuntimeError, ImportError, OSError) as error:
            if version != "editable":
                raise
            self.app.display_warning(f"no face networks ({error}); later run: python scripts/fetch_faces.py")
        try:
            fetch_onnxruntime_web.main()
        except (RuntimeError, OSError) as error:
            self.app.display_warning(
                f"no onnxruntime-web ({error}); later run: python scripts/fetch_onnxruntime_web.py"
            )
