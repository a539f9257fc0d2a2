"""The end of a tuning run whose prompt looks at native crops: its own margins, and a calibration fitted on them.

Which pictures are looked at again depends on P(fake), so the calibration moves the margins that it is fitted on. Each
picture is therefore scored both ways once, and what any calibration would choose is read off.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from moderation.detector import Backbone, Calibration, Crops, Detector, Score, SoftPrompt
from moderation.detector.detector import score_together
from moderation.training.arrival import CONDITIONS, looks
from moderation.training.finish import Measured, calibrated
from moderation.training.reading import Decode

_PASSES = 2  # as `modctl prompt calibrate`: the second fits on margins of a band nearly in place


@dataclass(frozen=True)
class _Seen:
    """A picture `row` in a condition: its margin from the whole, and with its crops."""

    row: int
    condition: int
    whole: float
    closer: float


def with_crops(
    prompt: SoftPrompt, measured: Measured, backbone: Backbone, decode: Decode, readers: Executor, seed: int
) -> Measured:
    """What the finished prompt does on the validation pictures, recalibrated.

    prompt: with its crops, its pixel expert if it has one, and the calibration of its wholes. With an expert the
    calibration is fitted on the pictures in every condition, as the expert's own is; the margins are of the pictures
    as they are. Raises ValueError for a prompt without crops.
    """
    if prompt.crops is None:
        raise ValueError("the prompt looks at no crops")
    seen = list(_seen(prompt, prompt.crops, measured, backbone, decode, readers, seed))
    images = [measured.images[one.row] for one in seen]
    is_fake = measured.is_fake[[one.row for one in seen]]

    def margins(crops: Crops, calibration: Calibration) -> NDArray[np.float64]:
        before = (calibration.probability(one.whole, image.source) for one, image in zip(seen, images, strict=True))
        return np.array(
            [one.closer if crops.low <= p <= crops.high else one.whole for one, p in zip(seen, before, strict=True)]
        )

    after = measured
    for _ in range(_PASSES):
        current = after.calibration
        after = calibrated(images, is_fake, margins(prompt.crops, current), None, seed, current)
    plain = [place for place, one in enumerate(seen) if one.condition == 0]
    final = margins(prompt.crops, after.calibration)
    notes = (f"margins with native crops: {prompt.crops.described}", *after.notes)
    if prompt.expert:
        notes = (*notes, f"fitted on the validation pictures in {len(CONDITIONS)} conditions")
    return replace(
        after, images=[images[place] for place in plain], is_fake=is_fake[plain], margins=final[plain], notes=notes
    )


def _seen(
    prompt: SoftPrompt,
    crops: Crops,
    measured: Measured,
    backbone: Backbone,
    decode: Decode,
    readers: Executor,
    seed: int,
) -> Iterator[_Seen]:
    """One for each picture and condition that could be read and scored."""
    whole = Detector(backbone, replace(prompt, crops=None))
    closer = Detector(backbone, replace(prompt, crops=replace(crops, low=0.0, high=1.0)))
    conditions = CONDITIONS if prompt.expert else CONDITIONS[:1]
    size, native = backbone.image_size, closer.native_crops
    for rows, views in looks(measured.images, size, native, decode, readers, seed, conditions):
        for (row, condition), *scores in zip(rows, *score_together([whole, closer], views), strict=True):
            first, second = scores
            if isinstance(first, Score) and isinstance(second, Score):
                yield _Seen(row, condition, first.margin, second.margin)
