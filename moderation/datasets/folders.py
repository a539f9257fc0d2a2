"""Labels from where files lie: folders given as real and as fake, or ROOT/<set>/{real,fake}/**.

Refuses a tree that it would have to guess about, and one in which a set or a class is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from moderation.datasets.labelled import LabelledImage
from moderation.datasets.presets import read_preset
from moderation.datasets.walk import ClassFolder, check_folder, label, sub_folders
from moderation.errors import ConfigurationError

_CLASSES = {"real": False, "fake": True}
_LAYOUT = "ROOT/<set>/real/ and ROOT/<set>/fake/, or one of them; or ROOT/real/ and ROOT/fake/"


def from_folders(real: Sequence[Path], fake: Sequence[Path]) -> list[LabelledImage]:
    """The pictures below the folders, real ones first; no set, generator, source or split is known.

    Raises ConfigurationError for a missing, empty or twice given folder, or one inside another.
    """
    if not real and not fake:
        raise ConfigurationError("real and fake", "no folder given", hint="give a folder of real or of fake pictures")
    folders = []
    for setting, paths in (("real", real), ("fake", fake)):
        for path in paths:
            check_folder(setting, path)
            folders.append(ClassFolder(path, is_fake=_CLASSES[setting], name=path.resolve().name))
    _check_apart(folders)
    return label(folders, set="", generator="", split="", pairs="")


def from_root(root: Path, preset: str | None = None) -> list[LabelledImage]:
    """The pictures of all sets below `root`, set by set; with a preset, those of its layout's test half.

    Raises ConfigurationError when there is no such folder, nothing in it, or a set with neither class.
    """
    if preset is not None:
        return list(read_preset(root, preset).images)
    check_folder("data", root)
    own = _class_folders(root)
    sets = [folder for folder in sub_folders(root) if folder.name.lower() not in _CLASSES]
    if own:
        return _one_set(root, own, sets)
    if not sets:
        raise ConfigurationError("data", f"{root} has no folder in it", hint=f"expected {_LAYOUT}")
    images: list[LabelledImage] = []
    for folder in sets:
        classes = _class_folders(folder)
        if not classes:
            raise _neither(folder)
        images += _labelled(folder.name, classes)
    return images


def _one_set(root: Path, classes: list[ClassFolder], others: list[Path]) -> list[LabelledImage]:
    beside = [folder.name for folder in others if _class_folders(folder)]
    if beside:
        raise ConfigurationError(
            "data",
            f"{root} has real/ or fake/ and also sets beside them: {', '.join(beside)}",
            hint="move real/ and fake/ into a folder of their own, or point at one set",
        )
    return _labelled(root.resolve().name, classes)


def _labelled(name: str, classes: Sequence[ClassFolder]) -> list[LabelledImage]:
    named = [replace(folder, name=f"{name}/{folder.name}") for folder in classes]
    return label(named, set=name, generator="", split="", pairs=name)


def _class_folders(folder: Path) -> list[ClassFolder]:
    below = [(path, path.name.lower()) for path in sub_folders(folder)]
    return [ClassFolder(path, is_fake=_CLASSES[name], name=name) for path, name in below if name in _CLASSES]


def _neither(folder: Path) -> ConfigurationError:
    held = [path.name for path in sub_folders(folder)][:5]
    return ConfigurationError(
        str(folder),
        "a set without real/ and without fake/" + (f"; it holds {', '.join(held)}" if held else ""),
        hint=f"expected {_LAYOUT}; for the tree of a published data set name its preset",
    )


def _check_apart(folders: Sequence[ClassFolder]) -> None:
    resolved = [folder.path.resolve() for folder in folders]
    for index, (folder, path) in enumerate(zip(folders, resolved, strict=True)):
        for other, above in zip(folders[:index], resolved[:index], strict=True):
            if path.is_relative_to(above) or above.is_relative_to(path):
                kinds = "real and as fake" if folder.is_fake != other.is_fake else "the same class twice"
                raise ConfigurationError(
                    "real and fake",
                    f"{folder.path} and {other.path} share pictures, given as {kinds}",
                    hint="give each picture once",
                )
