"""What a retraining learns from: which reviewed images teach, which judge, and how much each counts. Pure rules.

Whatever is in doubt is left out and counted, not guessed; and nobody teaches more than their share.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from moderation.domain.lesson import Lesson, Origin, Side
from moderation.domain.rehearsal import VAL_SHARE, draw_groups, shuffled
from moderation.domain.review import Trust
from moderation.domain.reviewed import LeftOut, Reviewed
from moderation.domain.split import Near, Split, split
from moderation.domain.submission import ImageId

HARD_WEIGHT = 2.0
"""What an image counts on which a sure machine was wrong. A convention: enough to be heard, too little to rule."""
GATE_NEEDS = 20
"""Images of a class in the holdout, below which the gate proves nothing and refuses."""

_Refused = dict[ImageId, LeftOut]


@dataclass(frozen=True, slots=True)
class Asked:
    """How a retraining is to choose. per_source, per_uploader: most images of a class that one may teach with.

    holdout_share: of new groups, to judge. min_labels: of each class, at least. replay: whether to learn again from
    what the prompt was tuned on. source: learn from this one alone; what is held out of the others judges all the same.
    """

    include_weak: bool
    per_source: int
    per_uploader: int
    holdout_share: float
    min_labels: int
    replay: bool = True
    seed: int = 42
    source: str | None = None


@dataclass(frozen=True)
class Arranged:
    """The reviewed images as lessons, by id, and how many were left out for which reason.

    sides: of those whose side was not stored yet.
    """

    lessons: tuple[Lesson, ...]
    left_out: Mapping[str, int]
    sides: Mapping[ImageId, Side]


def arrange(images: Iterable[Reviewed], known: Mapping[ImageId, Side], asked: Asked, near: Near) -> Arranged:
    """Makes lessons of the images; in whatever order they come, the same. known: the sides stored so far.

    `images` are all that were reviewed: also what may not teach holds its near-duplicates together.
    """
    everything = sorted(images, key=lambda image: image.image_id)
    ours = [image for image in everything if asked.source in (None, image.source)]
    refused: _Refused = {}
    for image in everything:
        why = image.unfit(include_weak=asked.include_weak)
        if why is not None:
            refused[image.image_id] = why
    refused |= _contradicted(_rest(everything, refused))
    places = split(everything, known, asked.holdout_share, near)
    refused = {**places.refused, **refused}
    placed = [
        image for image in _rest(everything, refused)
        if asked.source in (None, image.source) or places.side[image.image_id] is Side.HOLDOUT
    ]  # fmt: skip
    sides = {image.image_id: places.side[image.image_id] for image in placed if image.image_id not in known}
    refused |= _copied(placed, known)
    refused |= _too_many([image for image in _rest(ours, refused) if places.side[image.image_id] is Side.TRAIN], asked)
    refused |= _no_judges(
        [image for image in _rest(placed, refused) if places.side[image.image_id] is Side.HOLDOUT], asked
    )
    counts = Counter(str(refused[image.image_id]) for image in ours if image.image_id in refused)
    lessons = [_lesson(image, places) for image in _rest(placed, refused)]
    return Arranged(tuple(_validating(lessons, asked.seed)), dict(sorted(counts.items())), sides)


def _rest(images: Iterable[Reviewed], refused: Mapping[ImageId, LeftOut]) -> list[Reviewed]:
    return [image for image in images if image.image_id not in refused]


def _contradicted(images: Iterable[Reviewed]) -> _Refused:
    """Images whose very bytes are called real under one id and fake under another."""
    said: dict[str, set[bool | None]] = defaultdict(set)
    listed = list(images)
    for image in listed:
        said[image.sha256].add(image.is_fake)
    return {image.image_id: LeftOut.CONFLICT for image in listed if len(said[image.sha256]) > 1}


def _copied(images: Sequence[Reviewed], known: Mapping[ImageId, Side]) -> _Refused:
    """All but one of those with the same bytes; the one that stands in the split already stays."""
    kept: dict[str, ImageId] = {}
    for image in sorted(images, key=lambda image: (image.image_id not in known, image.image_id)):
        kept.setdefault(image.sha256, image.image_id)
    return {image.image_id: LeftOut.COPY for image in images if kept[image.sha256] != image.image_id}


def _too_many(images: Sequence[Reviewed], asked: Asked) -> _Refused:
    """What is over the caps, which hold for each class. The same ones stay while others come."""
    of_uploader: Counter[tuple[bool | None, str]] = Counter()
    of_source: Counter[tuple[bool | None, str]] = Counter()
    over: _Refused = {}
    for image in sorted(images, key=lambda image: shuffled("lesson", image.image_id)):
        uploader, source = (image.is_fake, image.uploader), (image.is_fake, image.source)
        if image.uploader and of_uploader[uploader] >= asked.per_uploader:
            over[image.image_id] = LeftOut.UPLOADER
        elif of_source[source] >= asked.per_source:
            over[image.image_id] = LeftOut.SOURCE
        else:
            of_uploader[uploader] += 1
            of_source[source] += 1
    return over


def _no_judges(held: Sequence[Reviewed], asked: Asked) -> _Refused:
    """What stands in the holdout and judges nothing: weak labels, and what is over an uploader's cap. A source is not
    capped there: the gate looks at each by itself."""
    weak = {image.image_id: LeftOut.WEAK_JUDGE for image in held if image.trust is not Trust.TRUSTED}
    return weak | _too_many(_rest(held, weak), replace(asked, per_source=len(held)))


def _lesson(image: Reviewed, places: Split) -> Lesson:
    side = places.side[image.image_id]
    return Lesson(
        origin=Origin.REVIEWED,
        name=image.image_id,
        is_fake=bool(image.is_fake),
        side=side,
        source=image.source,
        group=places.group[image.image_id],
        weight=HARD_WEIGHT if image.is_hard and side is Side.TRAIN else 1.0,
        sha256=image.sha256,
        reason=image.reason,
        trust=image.trust.value,
        band=image.band,
    )


def _validating(lessons: Sequence[Lesson], seed: int) -> list[Lesson]:
    """The lessons, a share of the groups that train set aside to validate."""
    drawn = draw_groups([lesson for lesson in lessons if lesson.side is Side.TRAIN], VAL_SHARE, f"val\n{seed}")
    return [
        replace(lesson, side=Side.VAL) if lesson.side is Side.TRAIN and lesson.group in drawn else lesson
        for lesson in lessons
    ]
