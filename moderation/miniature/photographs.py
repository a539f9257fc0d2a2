"""The photographs: which ones, where they lie, under what licence, and which part of the work may see each.

Only files inside the scikit-image and scikit-learn wheels whose documentation states a licence; nothing is downloaded.
A photograph belongs to exactly one split, so that no figure is measured on a scene that was trained on.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
"""uint8 [height, width, 3], RGB."""


class Split(StrEnum):
    """Who may look. Nothing is chosen on `FINAL`; it is measured last."""

    PRETRAIN = "pretrain"
    TUNE = "tune"
    VALIDATION = "validation"
    TEST = "test"
    FINAL = "final"


@dataclass(frozen=True)
class Photograph:
    """A bundled photograph and what its documentation says about it."""

    name: str
    package: str  # the wheel it lies in
    file: str  # below the package's folder
    split: Split
    is_grey: bool
    licence: str
    attribution: str
    source: str


_SKIMAGE = "skimage"
_SKLEARN = "sklearn"
_PUBLIC = "public domain"
_NO_KNOWN = "no known copyright restrictions"
_CC_BY = "CC BY 2.0"

PHOTOGRAPHS: tuple[Photograph, ...] = (
    Photograph("coffee", _SKIMAGE, "data/coffee.png", Split.PRETRAIN, False, "CC0",
               "Rachel Michetti, courtesy of Pikolo Espresso Bar", "scikit-image, skimage.data.coffee"),
    Photograph("rocket", _SKIMAGE, "data/rocket.jpg", Split.PRETRAIN, False, _PUBLIC,
               "SpaceX", "https://www.flickr.com/photos/spacexphotos/16511594820/"),
    Photograph("hubble", _SKIMAGE, "data/hubble_deep_field.jpg", Split.TUNE, False, _PUBLIC,
               "NASA, HubbleSite", "http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/"),
    Photograph("retina", _SKIMAGE, "data/retina.jpg", Split.PRETRAIN, False, "CC0",
               "Mikael Häggström", "https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg"),
    Photograph("brick", _SKIMAGE, "data/brick.png", Split.PRETRAIN, True, "CC0",
               "CC0Textures", "https://cc0textures.com/view.php?tex=Bricks25"),
    Photograph("grass", _SKIMAGE, "data/grass.png", Split.PRETRAIN, True, "CC0",
               "linolafett", "https://www.deviantart.com/linolafett/art/Grass-01-434853879"),
    Photograph("clock", _SKIMAGE, "data/clock_motion.png", Split.TUNE, True, _PUBLIC,
               "Stefan van der Walt", "scikit-image, skimage.data.clock"),
    Photograph("flower", _SKLEARN, "datasets/images/flower.jpg", Split.TUNE, False, _CC_BY,
               "vultilion", "https://www.flickr.com/photos/vultilion/6056698931/"),
    Photograph("ihc", _SKIMAGE, "data/ihc.png", Split.VALIDATION, False, _NO_KNOWN,
               "Center for Microscopy And Molecular Imaging (CMMI)",
               "scikit-image, skimage.data.immunohistochemistry"),
    Photograph("gravel", _SKIMAGE, "data/gravel.png", Split.TUNE, True, "CC0",
               "CC0Textures", "https://cc0textures.com/view.php?tex=Gravel04"),
    Photograph("chelsea", _SKIMAGE, "data/chelsea.png", Split.VALIDATION, False, "CC0",
               "Stefan van der Walt", "scikit-image, skimage.data.chelsea"),
    Photograph("coins", _SKIMAGE, "data/coins.png", Split.FINAL, True, _NO_KNOWN,
               "Brooklyn Museum Collection", "https://www.brooklynmuseum.org/opencollection/archives/image/51611"),
    Photograph("astronaut", _SKIMAGE, "data/astronaut.png", Split.TEST, False, _PUBLIC,
               "NASA", "NASA Great Images database, https://flic.kr/p/r9qvLn"),
    Photograph("china", _SKLEARN, "datasets/images/china.jpg", Split.TEST, False, _CC_BY,
               "danielbuechele", "https://www.flickr.com/photos/danielbuechele/6061409035/"),
    Photograph("camera", _SKIMAGE, "data/camera.png", Split.TEST, True, "CC0",
               "Lav Varshney", "scikit-image, skimage.data.camera"),
)  # fmt: skip


def of_split(split: Split) -> tuple[Photograph, ...]:
    """The photographs of one split, in the order of the list."""
    return tuple(photograph for photograph in PHOTOGRAPHS if photograph.split is split)


def load(photograph: Photograph) -> Pixels:
    """The photograph's pixels; a grey one has three equal channels. Raises FileNotFoundError if the wheel lacks it."""
    spec = importlib.util.find_spec(photograph.package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"{photograph.package} is not installed: pip install 'antifake-moderation[dev]'")
    with Image.open(Path(spec.origin).parent / photograph.file) as image:
        return np.asarray(image.convert("RGB"))
