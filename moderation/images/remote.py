"""Pictures in any file system that fsspec knows: s3://, gs://, az://, memory:// and the rest. Ids are keys below it.

How long a driver waits and how it signs in are its own settings (environment, config files), not ours.
"""

from __future__ import annotations

from typing import Any

import fsspec
from fsspec.registry import known_implementations

from moderation.errors import ConfigurationError, ImageRejected, ImageUnavailable, RejectReason
from moderation.images.source import SETTING, check_id, too_many_bytes

_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "adl": "adlfs",
    "oss": "ossfs",
    "sftp": "paramiko",
    "ssh": "paramiko",
    "smb": "smbprotocol",
    "webhdfs": "requests",
    "hf": "huggingface_hub",
}


class FsspecSource:
    """The keys below one fsspec URL."""

    def __init__(self, url: str, *, max_bytes: int) -> None:
        """Raises ConfigurationError for an unknown scheme, or one whose driver is not installed."""
        self._max_bytes = max_bytes
        scheme = url.partition("://")[0].split("::")[0]
        try:
            self._files, root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            package = _PACKAGES.get(scheme)
            hint = f"pip install {package}" if package else str(error)
            raise ConfigurationError(SETTING, f"{scheme}:// needs a driver that is not installed", hint=hint) from None
        except ValueError as error:
            known = ", ".join(sorted(known_implementations))
            raise ConfigurationError(SETTING, f"{scheme}:// can't be used: {error}", hint=f"known: {known}") from None
        self._root = str(root).rstrip("/")

    def fetch(self, image_id: str) -> bytes:
        """The bytes below key `image_id`. Raises ImageRejected, ImageUnavailable."""
        check_id(image_id)
        try:
            return self._read(f"{self._root}/{image_id}")
        except ImageRejected:
            raise
        except FileNotFoundError:
            raise ImageRejected(RejectReason.NOT_FOUND, "no such key") from None
        except IsADirectoryError:
            raise ImageRejected(RejectReason.BAD_ID, "not a file") from None
        except PermissionError as error:
            raise ImageRejected(RejectReason.FORBIDDEN, str(error)) from None
        except Exception as error:  # noqa: BLE001 - drivers raise their vendors' own kinds; all may pass with time
            raise ImageUnavailable(f"{type(error).__name__}: {error}") from None

    def close(self) -> None:
        """fsspec keeps its connections for the process."""

    def _read(self, path: str) -> bytes:
        info: dict[str, Any] = self._files.info(path)
        if info.get("type") == "directory":
            raise ImageRejected(RejectReason.BAD_ID, "not a file")
        size = info.get("size")
        if size is not None and size > self._max_bytes:
            raise too_many_bytes(size, self._max_bytes)
        data: bytes = self._files.cat_file(path, start=0, end=self._max_bytes + 1)
        if len(data) > self._max_bytes:
            raise too_many_bytes("more", self._max_bytes)
        return data
