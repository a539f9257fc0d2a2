"""Where pictures come from: what MODERATION_IMAGES names. An id is only ever looked up below that place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from moderation.errors import ImageRejected, RejectReason

SETTING = "MODERATION_IMAGES"
MAX_ID_LENGTH = 2048


class ImageSource(Protocol):
    """A place with pictures. Any number of threads may fetch at once."""

    def fetch(self, image_id: str) -> bytes:
        """The file's bytes. Raises ImageRejected when it can never be had, ImageUnavailable when not now."""
        ...

    def close(self) -> None:
        """Lets go of connections."""
        ...


def open_source(
    images: str, *, hosts: Sequence[str] = (), timeout_s: float = 10.0, max_bytes: int = 40_000_000
) -> ImageSource:
    """The source that `images` names: a folder or file:// URL, an http(s) template with {id}, or any fsspec URL.

    hosts: for http(s), those that may be fetched from, redirects included; empty: the template's own. timeout_s: the
    longest wait for one picture over http(s). Larger files than `max_bytes` are refused unread. Raises
    ConfigurationError naming MODERATION_IMAGES.
    """
    scheme, separator, _ = images.partition("://")
    if not separator:
        return _folder(Path(images), max_bytes)
    if scheme.lower() in ("file", "local"):
        return _folder(Path(unquote(urlsplit(images).path)), max_bytes)
    if scheme.lower() in ("http", "https"):
        from moderation.images.http import HttpSource

        return HttpSource(images, hosts=hosts, timeout_s=timeout_s, max_bytes=max_bytes)
    from moderation.images.remote import FsspecSource

    return FsspecSource(images, max_bytes=max_bytes)


def check_id(image_id: str) -> None:
    """Refuses ids that name no picture or lead out of the source. Raises ImageRejected."""
    if not image_id or len(image_id) > MAX_ID_LENGTH or "\0" in image_id:
        raise ImageRejected(RejectReason.BAD_ID, f"1 to {MAX_ID_LENGTH} characters, none of them NUL")
    try:
        image_id.encode()
    except UnicodeEncodeError:
        raise ImageRejected(RejectReason.BAD_ID, "not valid Unicode") from None
    if image_id.startswith("/") or ".." in image_id.replace("\\", "/").split("/"):
        raise ImageRejected(RejectReason.FORBIDDEN, "absolute, or leading out of the source with `..`")


def too_many_bytes(found: int | str, max_bytes: int) -> ImageRejected:
    """The refusal of a file of `found` bytes."""
    return ImageRejected(RejectReason.TOO_MANY_BYTES, f"{found}; {max_bytes} are allowed")


def _folder(root: Path, max_bytes: int) -> ImageSource:
    from moderation.images.folder import FolderSource

    return FolderSource(root, max_bytes=max_bytes)
