"""Vision features on disk, by what they are made of: the file's bytes, the backbone and the preprocessing.

The vision tower is half the work of an epoch and does not depend on the prompt. An entry that can't be read whole is
no entry: it is computed again. A file's time says when it was last used, so that what nobody uses can go.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from contextlib import suppress
from pathlib import Path

import torch
from safetensors.torch import save

from moderation.detector.backbone import Backbone
from moderation.detector.preprocess import Normalisation
from moderation.errors import ConfigurationError
from moderation.files import write_whole

DTYPE = torch.float16
_NAME = "features"
_NOTE = "made_of.json"
_PART_CHARS = 2  # of a hash: entries lie in folders of these
_SUFFIXES = (".safetensors", ".unfinished")  # of entries, and of drafts of the killed
_HEAD_BYTES = 8  # of a safetensors file: the length of its header


class FeatureCache:
    """A folder of safetensors files, one a picture. Processes may share it: entries appear whole or not at all."""

    def __init__(self, folder: Path, backbone: Backbone, statistics: Normalisation, preparation: str) -> None:
        """preparation: what was done to the pictures before normalising, in words."""
        self.shape = feature_shape(backbone)
        made_of = {
            "backbone": backbone.name,
            "revision": backbone.revision,
            "computed in": str(backbone.dtype),
            "stored as": str(DTYPE),
            "preparation": preparation,
            "mean": statistics.mean,
            "std": statistics.std,
        }
        key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = folder.expanduser() / key
        self._made_of = made_of

    def prepare(self, pictures: int) -> None:
        """Makes the folder. Raises ConfigurationError if it can't be written or lacks room for `pictures` more."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            note = self.folder / _NOTE
            if not note.exists():
                write_whole(note, json.dumps(self._made_of, indent=2).encode())
            _use(note)
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise _unusable(self.folder, error) from None
        entries = sum(1 for _ in self.folder.glob("*/*.safetensors"))
        if (needed := max(pictures - entries, 0) * feature_bytes(self.shape)) > free:
            raise ConfigurationError(
                "--cache",
                f"{human_bytes(needed)} are needed and {human_bytes(free)} are free at {self.folder}",
                hint="name another folder: --cache DIR, or do without: --no-cache",
            )

    def get(self, sha256: str) -> torch.Tensor | None:
        """float16 [T, Hv] of the picture whose file has this hash; None where there is none that is whole."""
        path = self._path(sha256)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        start = _HEAD_BYTES + int.from_bytes(data[:_HEAD_BYTES], "little")
        try:
            checked = json.loads(data[_HEAD_BYTES:start])["__metadata__"]["crc32"]
        except (ValueError, KeyError, TypeError):
            return None
        body = data[start:]
        if len(body) != feature_bytes(self.shape) or checked != str(zlib.crc32(body)):
            return None
        _use(path)
        return torch.frombuffer(bytearray(body), dtype=DTYPE).reshape(self.shape)

    def put(self, sha256: str, features: torch.Tensor) -> None:
        """Keeps float16 [T, Hv]. Raises ConfigurationError when it can't be written."""
        checked = zlib.crc32(features.contiguous().numpy().tobytes())
        path = self._path(sha256)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, save({_NAME: features.contiguous()}, metadata={"crc32": str(checked)}))
        except OSError as error:
            raise _unusable(self.folder, error) from None

    def _path(self, sha256: str) -> Path:
        return self.folder / sha256[:_PART_CHARS] / f"{sha256}.safetensors"


def prune(folder: Path, *, unused_since: float) -> int:
    """Removes from all caches in `folder` what nobody used since then (seconds, as time.time()); how many files went.

    What another process works with was used later, so it stays. So does what can't be removed, or is of no cache.
    """
    gone = 0
    for cache in _listed(folder):
        for part in _listed(cache):
            ours = [file for file in _listed(part) if len(part.name) == _PART_CHARS and file.suffix in _SUFFIXES]
            gone += sum(_removed(file, unused_since) for file in ours)
        with suppress(OSError):  # one that still holds an entry
            if (cache / _NOTE).stat().st_mtime < unused_since:
                for part in _listed(cache):
                    if part.is_dir():
                        part.rmdir()
                (cache / _NOTE).unlink()
                cache.rmdir()
    return gone


def feature_shape(backbone: Backbone) -> tuple[int, int]:
    """(T, Hv): the patches and the class token, and the vision tower's width."""
    config = backbone.model.config.vision_config
    return (int(config.image_size) // int(config.patch_size)) ** 2 + 1, int(config.hidden_size)


def feature_bytes(shape: tuple[int, int]) -> int:
    """Of one picture."""
    return shape[0] * shape[1] * DTYPE.itemsize


def default_folder() -> Path:
    """Below the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "antifake-moderation" / "features"


def human_bytes(count: float) -> str:
    """1.5 GB."""
    units = ("bytes", "kB", "MB", "GB", "TB")
    power = min(max(len(str(int(count))) - 1, 0) // 3, len(units) - 1)
    return f"{count / 1000**power:.3g} {units[power]}"


def _unusable(folder: Path, error: OSError) -> ConfigurationError:
    hint = "name another folder: --cache DIR, or do without: --no-cache"
    return ConfigurationError("--cache", f"{folder}: {error.strerror or error}", hint=hint)


def _use(path: Path) -> None:
    """Notes that it is in use now; a cache that can only be read serves as well."""
    with suppress(OSError):
        os.utime(path)


def _listed(folder: Path) -> list[Path]:
    """What is in it; nothing, where it is no folder or gone."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _removed(file: Path, unused_since: float) -> bool:
    try:
        if file.stat().st_mtime >= unused_since:
            return False
        file.unlink()
    except OSError:
        return False
    return True
