"""A backbone's name, revision and widths, read from its small files: enough to say whether a prompt fits.

Of a Hub id only the config is fetched, never the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from huggingface_hub import HfApi
from transformers import AutoConfig

from moderation.detector.hub import MINIATURE, explain, find_files
from moderation.errors import ConfigurationError


class Measured(Protocol):
    """What a prompt has to fit."""

    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def qformer_width(self) -> int: ...
    @property
    def llm_width(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Measures:
    """A backbone that was not loaded."""

    name: str
    revision: str
    qformer_width: int
    llm_width: int


def measures_of(name: str, *, revision: str | None = None, language_model: str | None = None) -> Measures:
    """Those of the backbone that `load_backbone` would load from the same arguments. Raises ConfigurationError."""
    config, version = _config(name, revision or None, "MODERATION_BACKBONE")
    words = getattr(config, "text_config", None)
    queries = getattr(config, "qformer_config", None)
    if words is None or queries is None:
        raise ConfigurationError("MODERATION_BACKBONE", f"{name} is no InstructBLIP")
    if language_model:
        words, swapped = _config(language_model, None, "MODERATION_LANGUAGE_MODEL")
        name, version = f"{name}+{language_model}", f"{version}+{swapped}"
    return Measures(name, version, int(queries.hidden_size), int(words.hidden_size))


def _config(name: str, revision: str | None, setting: str) -> tuple[Any, str]:
    """The model's config, and its revision as loading it would have it."""
    if name == MINIATURE or Path(name).expanduser().is_dir():
        files = find_files(name, revision=revision, setting=setting)
        folder, version = files.folder, files.revision
    else:
        folder = _fetched(name, revision, setting)
        version = folder.name  # a snapshot's folder is called after its commit
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True), version
    except Exception as error:  # noqa: BLE001 - transformers raises anything on files that are not what they say
        raise ConfigurationError(setting, f"the config of {name} can't be read: {error}") from None


def _fetched(name: str, revision: str | None, setting: str) -> Path:
    try:
        return Path(HfApi().hf_hub_download(name, "config.json", revision=revision)).parent
    except Exception as error:  # noqa: BLE001 - besides its own kinds the Hub's client raises its HTTP library's
        raise ConfigurationError(setting, explain(error, name, revision)) from None
