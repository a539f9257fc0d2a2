"""From a backbone's name to a folder of files and the revision they are.

The Hub is asked only when the name is no folder and not the miniature. What can't be had is a ConfigurationError that
names the setting and the way out.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import os
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from moderation.errors import ConfigurationError

MINIATURE = "miniature"
_SMALL_FILES = ["*.json", "tokenizer.model", "spiece.model", "vocab.txt", "qformer_tokenizer/*"]
_WAY_OUT = (
    "use `miniature`, a folder with config.json, *.safetensors, the tokenizer's file and qformer_tokenizer/, "
    "or a Hub id such as Salesforce/instructblip-vicuna-7b"
)
_REMEMBER_BYTES = 256 * 2**20  # below that, hashing anew costs less than a file that remembers


@dataclass(frozen=True)
class Files:
    """A folder of model files and what identifies them: a sha256 over the weights, or the Hub's commit."""

    folder: Path
    revision: str


def find_files(name: str, *, revision: str | None, setting: str) -> Files:
    """The files of `name`: the miniature, a local folder or a Hub id. Raises ConfigurationError naming `setting`."""
    if name == MINIATURE:
        return _local(Path(str(importlib.resources.files("moderation.miniature"))) / "weights", setting)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _local(folder, setting)
    return _download(name, revision, setting)


def weights_sha256(folder: Path) -> str:
    """The sha256 over the weight files of `folder`, by name and content. Large ones are remembered between runs."""
    files = _weight_files(folder)
    stamp = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    memory = _memory() if sum(path.stat().st_size for path in files) >= _REMEMBER_BYTES else None
    key = json.dumps([str(folder.resolve()), stamp])
    known = _read_memory(memory)
    if key in known:
        return known[key]
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    if memory is not None:
        _write_memory(memory, {**known, key: total.hexdigest()})
    return total.hexdigest()


def _local(folder: Path, setting: str) -> Files:
    if not (folder / "config.json").is_file() or not _weight_files(folder):
        raise ConfigurationError(setting, f"{folder} lacks config.json or weights", hint=_WAY_OUT)
    return Files(folder, weights_sha256(folder))


def _weight_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def _download(name: str, revision: str | None, setting: str) -> Files:
    try:
        folder = _snapshot(HfApi(), name, revision)
    except Exception as error:  # noqa: BLE001 - besides its own kinds the Hub's client raises its HTTP library's
        raise ConfigurationError(setting, explain(error, name, revision), hint=_WAY_OUT) from None
    if not (folder / "config.json").is_file() or not _weight_files(folder):
        raise ConfigurationError(setting, f"{name} on the Hub lacks config.json or weights", hint=_WAY_OUT)
    return Files(folder, folder.name)  # a snapshot's folder is called after its commit


def _snapshot(api: HfApi, name: str, revision: str | None) -> Path:
    try:
        files = [file.rfilename for file in api.model_info(name, revision=revision).siblings or []]
    except (HFValidationError, HfHubHTTPError):  # an answer, if not a good one
        raise
    except Exception:  # noqa: BLE001 - not reachable, in whatever words: perhaps all of it was fetched before
        return Path(api.snapshot_download(name, revision=revision, local_files_only=True))
    safe = any(file.endswith(".safetensors") and "/" not in file for file in files)
    weights = "*.safetensors" if safe else "pytorch_model*.bin"  # the latter are read with weights_only
    return Path(api.snapshot_download(name, revision=revision, allow_patterns=[*_SMALL_FILES, weights]))


def explain(error: Exception, name: str, revision: str | None) -> str:
    """What an error of the Hub's client means, in words."""
    known: tuple[tuple[type[Exception], str], ...] = (  # subclasses first
        (HFValidationError, f"{name!r} is neither a folder nor a Hub id"),
        (GatedRepoError, f"{name} asks for its terms to be accepted on the Hub, and for a token in HF_TOKEN"),
        (RepositoryNotFoundError, f"{name!r} is no folder here, and the Hub shows no such model"),
        (RevisionNotFoundError, f"{name} has no revision {revision!r} on the Hub"),
        (LocalEntryNotFoundError, f"{name!r} is no folder here, and the Hub can't be reached to fetch it"),
    )
    for kind, problem in known:
        if isinstance(error, kind):
            return problem
    return f"{name} could not be fetched: {error}"


def _memory() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "antifake-moderation" / "weights.json"


def _read_memory(memory: Path | None) -> dict[str, str]:
    try:
        known = json.loads(memory.read_text()) if memory else {}
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write_memory(memory: Path, known: dict[str, str]) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(json.dumps(known))
    except OSError:
        return  # it only saves time
