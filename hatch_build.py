"""Build hook of the wheel: files that are not in the repository (face networks, onnxruntime-web), and the SBOM."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FilesBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Hook that fetches these files, and writes the SBOM, before the files of the wheel are collected."""

    _folder: tempfile.TemporaryDirectory[str] | None = None  # of the SBOM

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch the files, and add the SBOM to the wheel (PEP 770).

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
        if version != "editable":
            import sbom

            self._folder = tempfile.TemporaryDirectory()
            path = Path(self._folder.name) / sbom.FILE
            path.write_text(sbom.text_of(sbom.content_document(Path(self.root))), encoding="utf-8")
            build_data["sbom_files"].append(str(path))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary folder."""
        if self._folder is not None:
            self._folder.cleanup()
