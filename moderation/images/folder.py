"""Pictures in a local folder; ids are paths relative to it. Links may stay inside it but not lead out."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from moderation.errors import ConfigurationError, ImageRejected, ImageUnavailable, RejectReason
from moderation.images.source import SETTING, check_id, too_many_bytes

_PERMANENT = {
    errno.ENOENT: RejectReason.NOT_FOUND,
    errno.ENOTDIR: RejectReason.NOT_FOUND,
    errno.EACCES: RejectReason.FORBIDDEN,
    errno.EPERM: RejectReason.FORBIDDEN,
    errno.ELOOP: RejectReason.FORBIDDEN,
    errno.ENAMETOOLONG: RejectReason.BAD_ID,
    errno.EINVAL: RejectReason.BAD_ID,
}


class FolderSource:
    """A folder that is there when the worker starts."""

    def __init__(self, root: Path, *, max_bytes: int) -> None:
        """Raises ConfigurationError when `root` is no folder."""
        if not root.expanduser().is_dir():
            raise ConfigurationError(
                SETTING, f"{root} is no folder", hint="a folder, an fsspec URL, or http(s) with {id}"
            )
        self.root = root.expanduser().resolve()
        self._max_bytes = max_bytes

    def fetch(self, image_id: str) -> bytes:
        """The bytes of the file `image_id` below the folder. Raises ImageRejected, ImageUnavailable."""
        check_id(image_id)
        try:
            path = (self.root / image_id).resolve()
            if not path.is_relative_to(self.root):
                raise ImageRejected(RejectReason.FORBIDDEN, "a link that leads out of the folder")
            return self._read(path)
        except OSError as error:
            raise self._explain(error) from None
        except RuntimeError:  # before Python 3.13 `resolve` says so of a loop of links
            raise ImageRejected(RejectReason.FORBIDDEN, "a loop of links") from None

    def close(self) -> None:
        """Nothing to let go of."""

    def _read(self, path: Path) -> bytes:
        if not stat.S_ISREG(path.stat().st_mode):  # before opening: a named pipe would block
            raise ImageRejected(RejectReason.BAD_ID, "not a file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > self._max_bytes:
                raise too_many_bytes(size, self._max_bytes)
            return file.read(self._max_bytes)

    def _explain(self, error: OSError) -> ImageRejected | ImageUnavailable:
        reason = _PERMANENT.get(error.errno or 0)
        if reason is None or not self.root.is_dir():  # an unmounted folder: its pictures may come back
            return ImageUnavailable(f"{self.root}: {error.strerror or error}")
        return ImageRejected(reason, error.strerror or "")
