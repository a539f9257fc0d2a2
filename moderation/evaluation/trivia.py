"""Trivial features of a file and its picture: what a detector must not live on. Knows no truth and no score.

Sharpness and grid are measured on at most 1024 x 1024 pixels of the centre, so that a large picture costs no more.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NUMERIC: Mapping[str, str] = MappingProxyType(
    {
        "bytes_per_pixel": "size of the file over its pixels",
        "width": "width in pixels",
        "height": "height in pixels",
        "aspect": "width over height",
        "megapixels": "pixels, in millions",
        "sharpness": "variance of the Laplacian of the grey picture",
        "grid_phase": "blockiness at the phase of a JPEG grid that starts in the corner, over the other phases",
        "red": "mean red",
        "green": "mean green",
        "blue": "mean blue",
        "saturation": "mean saturation (HSV)",
    }
)
CATEGORICAL: Mapping[str, str] = MappingProxyType(
    {"format": "format of the file", "size": "width and height, as a pair"}
)
MEASURED_SIDE = 1024  # pixels; a multiple of 8, see _middle
BLOCK = 8  # of JPEG, ITU-T T.81


def features(data: bytes, image: Image.Image) -> dict[str, float | str]:
    """NUMERIC and CATEGORICAL of a file. data: its bytes; image: the picture in RGB that was decoded from them."""
    width, height = image.size
    small = image.copy()
    small.thumbnail((256, 256), Image.Resampling.BOX, reducing_gap=None)
    red, green, blue = (float(mean) for mean in np.asarray(small, dtype=np.float64).mean(axis=(0, 1)))
    grey = _middle(image)
    return {
        "bytes_per_pixel": len(data) / (width * height),
        "width": float(width),
        "height": float(height),
        "aspect": width / height,
        "megapixels": width * height / 1e6,
        "sharpness": sharpness(grey),
        "grid_phase": grid_phase(grey),
        "red": red,
        "green": green,
        "blue": blue,
        "saturation": float(np.asarray(small.convert("HSV"))[..., 1].mean()),
        "format": _format(data),
        "size": f"{width} x {height}",
    }


def sharpness(grey: NDArray[np.float32]) -> float:
    """The variance of the four-neighbour Laplacian. grey: [H, W], 0 to 255."""
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    return float(laplacian.var())


def grid_phase(grey: NDArray[np.float32]) -> float:
    """Cross differences |A - B - C + D| at the borders of 8 x 8 blocks over their mean elsewhere: 1 without a grid.

    The difference is that of Fan and de Queiroz, "Identification of bitmap compression history", IEEE Transactions on
    Image Processing 12(2), 2003, averaged for each phase. grey: [H, W], at least 16 a side.
    """
    cross = np.abs(grey[:-1, :-1] - grey[:-1, 1:] - grey[1:, :-1] + grey[1:, 1:])
    ratios = []
    for along in (cross.mean(axis=0), cross.mean(axis=1)):
        phases = np.array([along[phase::BLOCK].mean() for phase in range(BLOCK)])
        elsewhere = phases[:-1].mean()
        ratios.append(phases[-1] / elsewhere if elsewhere > 0 else 1.0)
    return float(np.mean(ratios))


def _middle(image: Image.Image) -> NDArray[np.float32]:
    """Grey values of the centre, cut on the 8 x 8 grid that starts in the picture's corner."""
    left, top = (max(side - MEASURED_SIDE, 0) // 2 // BLOCK * BLOCK for side in image.size)
    right, bottom = (min(start + MEASURED_SIDE, side) for start, side in zip((left, top), image.size, strict=True))
    return np.asarray(image.crop((left, top, right, bottom)).convert("L"), dtype=np.float32)


def _format(data: bytes) -> str:
    try:
        with Image.open(io.BytesIO(data)) as opened:
            return str(opened.format)
    except OSError:
        return "unknown"
