"""The picture of a task: fetched and decoded under the limits that hold for scoring, and opened in a viewer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moderation.errors import ImageRejected, ImageUnavailable

if TYPE_CHECKING:
    from PIL.Image import Image

    from moderation.domain.submission import ImageId
    from moderation.wiring import Wiring

_MAX_SIDE = 2000  # pixels: no terminal shows more
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif"}


@dataclass(frozen=True)
class Picture:
    """What there is to see. Where `problem` is set there is nothing, and it says why."""

    image: Image | None
    facts: str
    problem: str = ""
    data: bytes = b""
    suffix: str = ""


class Pictures:
    """Fetches pictures, and shows one in full. Close it: what the viewer was given is removed then."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def load(self, image_id: ImageId) -> Picture:
        """The picture, or why there is none."""
        from moderation.images import decode

        settings = self._wiring.settings
        try:
            data = self._wiring.image_source.fetch(image_id)
            image, facts = decode(
                data, max_pixels=settings.max_image_pixels, exif_orientation=settings.exif_orientation
            )
            image.thumbnail((_MAX_SIDE, _MAX_SIDE))
        except (ImageRejected, ImageUnavailable) as error:
            return Picture(None, "", f"no picture: {error} (MODERATION_IMAGES is {settings.images})")
        described = f"{facts.width} x {facts.height} {facts.format}, {_size(facts.bytes)}"
        return Picture(image, described, data=data, suffix=_SUFFIXES[facts.format])

    def zoom(self, picture: Picture) -> str:
        """Opens the file as it came in the system's viewer; says what was done."""
        if picture.image is None:
            return picture.problem
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="modctl-")
        file = Path(self._folder.name) / f"picture{picture.suffix}"
        file.write_bytes(picture.data)
        program = viewer(sys.platform, os.environ, shutil.which)
        if program is None:
            return f"no viewer to open here; for now it is {file}"
        quiet = subprocess.DEVNULL
        try:
            subprocess.Popen([program, str(file)], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
        except OSError as error:
            return f"{program}: {error.strerror}; for now it is {file}"
        return f"opened with {Path(program).name}"

    def close(self) -> None:
        """Removes what the viewer was given."""
        if self._folder is not None:
            self._folder.cleanup()


def viewer(platform: str, environ: Mapping[str, str], which: Callable[[str], str | None]) -> str | None:
    """The program that opens a file on this system; None where there is none, or no screen for it (as over ssh)."""
    if platform == "darwin":
        return which("open")
    if environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"):
        return which("xdg-open")
    return None


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1_000_000 else f"{max(1, round(count / 1e3))} KB"
