"""The 23 test sets of AntifakePrompt (arXiv 2310.17419), named as in its results table.

Each set is of one class. The authors publish no folder tree, so a set is known by its folder's name: the table's, the
paper's, or a common spelling. Refuses two folders for one set, since each set counts once in the table's mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from moderation.datasets.labelled import LabelledImage
from moderation.datasets.layout import PresetData, plain
from moderation.datasets.walk import ClassFolder, check_folder, label, sub_folders
from moderation.errors import ConfigurationError

NAME = "antifakeprompt"
TREE = "ROOT/<set>/**, where <set> is COCO, Flickr, SD2, ... (docs/data.md lists the names)"
SPLIT = "test"
REAL_SETS = ("COCO", "Flickr")
# Set -> other names that its folder may have, in any case and with or without blanks and punctuation.
NAMES: dict[str, tuple[str, ...]] = {
    "COCO": ("MSCOCO", "COCO2017", "val2017"),
    "Flickr": ("Flickr30k", "Flickr30k-images"),
    "SD2": ("Stable-Diffusion-2", "SDv2", "SD2.0", "Stable-Diffusion-v2"),
    "SD3": ("Stable-Diffusion-3", "SDv3", "SD3-medium"),
    "SDXL": ("SD-XL", "Stable-Diffusion-XL"),
    "IF": ("DeepFloyd-IF", "DeepFloyd"),
    "DALLE-2": ("DALL-E-2",),
    "DALLE-3": ("DALL-E-3",),
    "playground2.5": ("PGv2.5", "Playground-v2.5", "PG2.5"),
    "DiffusionDB": (),
    "SGXL": ("StyleGAN-XL", "SG-XL"),
    "GLIDE": (),
    "Stylization": ("Stylisation",),
    "DF": ("DeeperForensics", "DeeperForensics-1.0"),
    "DFDC": (),
    "FF++": ("FaceForensics++", "FFpp", "FaceForensicspp"),
    "LaMa": (),
    "SD2IP": ("SD2-inpainting", "SD2-inpaint", "Stable-Diffusion-2-inpainting"),
    "LIIF": (),
    "SD2SR": ("SD2-superres", "SD2-super-resolution", "SD2-upscaler"),
    "Adver.": ("Adversarial", "Adversarial-attack"),
    "Backdoor": ("Backdoor-attack",),
    "DataPoison": ("Data-poisoning", "Poisoning", "Poison"),
}
SETS = tuple(NAMES)
_KNOWN = {plain(name): of for of, others in NAMES.items() for name in (of, *others)}
_CLASS_NAMES = ("real", "fake")


def read(root: Path) -> PresetData:
    """The pictures of the sets below `root`, ROOT/real or ROOT/fake, in the table's order.

    Within a set, pictures lie at any depth, or below the folder of the set's class where there is one.
    Raises ConfigurationError when no set is found, one is empty, or two folders are one set.
    """
    check_folder("data", root)
    folders: dict[str, Path] = {}
    unknown = []
    for folder in _candidates(root):
        name = _KNOWN.get(plain(folder.name))
        if name is None:
            unknown.append(folder.name)
        elif name in folders:
            raise ConfigurationError(
                "data", f"{folders[name]} and {folder} are both the set {name}", hint="move one of them elsewhere"
            )
        else:
            folders[name] = folder
    if not folders:
        raise ConfigurationError("data", f"{root} holds none of the {len(SETS)} sets", hint=f"expected {TREE}")
    found = tuple(name for name in SETS if name in folders)
    images = tuple(image for name in found for image in _pictures(name, folders[name]))
    return PresetData(NAME, found, tuple(name for name in SETS if name not in folders), tuple(unknown), images)


def _candidates(root: Path) -> Iterator[Path]:
    for folder in sub_folders(root):
        if folder.name.lower() in _CLASS_NAMES:
            yield from sub_folders(folder)
        else:
            yield folder


def _pictures(name: str, folder: Path) -> list[LabelledImage]:
    is_fake = name not in REAL_SETS
    classes = {below.name.lower(): below for below in sub_folders(folder) if below.name.lower() in _CLASS_NAMES}
    own = _CLASS_NAMES[is_fake]
    if classes and own not in classes:
        raise ConfigurationError(
            str(folder), f"the set {name} is {own}, but there is no {own}/ in it", hint=f"put its pictures in {own}/"
        )
    holder = ClassFolder(classes.get(own, folder), is_fake, name)
    return label([holder], set=name, generator=name, split=SPLIT, pairs=None)
