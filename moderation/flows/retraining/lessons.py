"""Lessons: what a retraining would learn from and be judged on, gathered from labels, the frozen split and the parent's
manifest. It reads, and no more: no picture, nothing stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moderation.domain.learning import GATE_NEEDS, Asked, arrange
from moderation.domain.lesson import Lesson, Origin, Side, lessons_sha256, unpack
from moderation.domain.prompt import PromptId, PromptRecord
from moderation.domain.rehearsal import files, rehearse
from moderation.domain.reviewed import LeftOut
from moderation.domain.submission import ImageId
from moderation.errors import ConfigurationError
from moderation.flows.tuning.manifest import PACKAGE
from moderation.storage.registry.prompts import Prompts
from moderation.storage.training.holdout import Holdout
from moderation.storage.training.labels import Labels

__all__ = ["Asked", "Curriculum", "counts", "file_of", "gather"]

_CLASSES = ("real", "fake")
_VERBS = {Side.TRAIN: "train", Side.VAL: "validate"}


@dataclass(frozen=True)
class Curriculum:
    """The lessons of one retraining. left_out: why, and how many images. missing: what lacks, in words; then it is
    refused.

    sides: newly drawn, TRAIN or HOLDOUT, to be stored with the run. sha256: the lessons' identity.
    """

    lessons: tuple[Lesson, ...]
    left_out: Mapping[str, int]
    sides: Mapping[ImageId, Side]
    missing: tuple[str, ...]
    sha256: str

    def of(self, origin: Origin, *sides: Side) -> list[Lesson]:
        """The lessons from there; of all sides, or of these."""
        return [each for each in self.lessons if each.origin is origin and (not sides or each.side in sides)]


def gather(labels: Labels, holdout: Holdout, prompts: Prompts, parent: PromptRecord, asked: Asked) -> Curriculum:
    """What a retraining of `parent` would learn from now. The same rows and wishes give the same lessons."""
    from moderation.images.fingerprint import near_groups

    arranged = arrange(labels.reviewed(), holdout.sides(), asked, near_groups)
    teaching = sum(lesson.side is not Side.HOLDOUT for lesson in arranged.lessons)
    pool = _pool(prompts, parent) if asked.replay else []
    lessons = (*arranged.lessons, *rehearse(pool, teaching, asked.seed))
    missing = [*_labels_missing(arranged.lessons, arranged.left_out, asked), *_replay_missing(pool, asked)]
    return Curriculum(lessons, arranged.left_out, arranged.sides, tuple(missing), lessons_sha256(lessons))


def counts(curriculum: Curriculum) -> dict[str, Any]:
    """The manifest in numbers, plain JSON: reviewed images by side, label, source, reason, trust and size class, what
    is replayed, what was left out and why."""
    reviewed, replayed = curriculum.of(Origin.REVIEWED), curriculum.of(Origin.FILE)
    return {
        "images": len(reviewed),
        "side": _by_side(reviewed),
        "label": _counted(reviewed, lambda lesson: _CLASSES[lesson.is_fake]),
        "source": _counted(reviewed, lambda lesson: lesson.source),
        "reason": _counted(reviewed, lambda lesson: lesson.reason),
        "trust": _counted(reviewed, lambda lesson: lesson.trust),
        "size": _counted(reviewed, lambda lesson: lesson.band),
        "groups": len({lesson.group for lesson in reviewed}),
        "hard": sum(lesson.weight > 1 for lesson in reviewed),
        "held_out": len(curriculum.of(Origin.REVIEWED, Side.HOLDOUT)),
        "newly_placed": len(curriculum.sides),
        "replay": {
            "pictures": len(replayed),
            "side": _by_side(replayed),
            "generator": _counted(
                [each for each in replayed if each.is_fake], lambda each: each.generator or "unknown"
            ),
        },
        "left_out": dict(curriculum.left_out),
        "missing": list(curriculum.missing),
        "sha256": curriculum.sha256,
    }


def file_of(lesson: Lesson) -> Path:
    """Where a FILE lesson's picture lies; `miniature:` stands for the installed package's own folder.

    Raises ConfigurationError for a reviewed image, and a name that leads out of the package.
    """
    if lesson.origin is not Origin.FILE:
        raise ConfigurationError("manifest", f"{lesson.name} is an image of the platform, not a file")
    if not lesson.name.startswith(PACKAGE):
        return Path(lesson.name)
    from moderation import miniature

    folder = Path(miniature.__file__).resolve().parent
    path = (folder / lesson.name.removeprefix(PACKAGE)).resolve()
    if not path.is_relative_to(folder):
        raise ConfigurationError("manifest", f"{lesson.name} leads out of the package")
    return path


def _pool(prompts: Prompts, parent: PromptRecord) -> list[Lesson]:
    """The pictures in files that the nearest ancestor with such of its own was tuned on; failing that, those that the
    nearest replayed."""
    fallback: list[Lesson] = []
    record: PromptRecord | None = parent
    seen: set[PromptId] = set()
    while record is not None and record.prompt_id not in seen:
        seen.add(record.prompt_id)
        found, own = files(_manifest(prompts, record.prompt_id))
        if found and own:
            return found
        fallback = fallback or found
        record = prompts.find(record.parent) if record.parent else None
    return fallback


def _manifest(prompts: Prompts, prompt_id: PromptId) -> list[Lesson]:
    packed = prompts.manifest(prompt_id)
    try:
        return unpack(packed) if packed else []
    except ValueError as error:
        raise ConfigurationError("prompt", f"the stored manifest of {prompt_id} can't be read: {error}") from None


def _labels_missing(lessons: Iterable[Lesson], left_out: Mapping[str, int], asked: Asked) -> list[str]:
    """What lacks of labels, in words. The holdout is looked at too: a gate that must refuse is told beforehand."""
    listed = list(lessons)
    missing = []
    for is_fake, name in enumerate(_CLASSES):
        all_of_class = [lesson for lesson in listed if lesson.is_fake == bool(is_fake)]
        ours = [lesson for lesson in all_of_class if asked.source in (None, lesson.source)]
        kind = "usable" if asked.include_weak else "trusted"
        of = "" if asked.source is None else f" of source {asked.source}"
        if len(ours) < asked.min_labels:
            missing.append(f"{name}: {len(ours)} images{of} with a {kind} label; {asked.min_labels} are needed")
            continue
        held = sum(lesson.side is Side.HOLDOUT for lesson in all_of_class)
        needed = GATE_NEEDS if asked.min_labels >= GATE_NEEDS else 1  # who wants fewer labels sees what the gate says
        if held < needed:
            missing.append(
                f"{name}: {held} of {len(all_of_class)} images in the holdout; {needed} are needed to judge by"
            )
        sides = {lesson.side for lesson in ours}
        missing += [f"{name}: no image to {verb} on" for side, verb in _VERBS.items() if side not in sides]
    weak = left_out.get(LeftOut.WEAK, 0)
    if missing and weak:
        missing.append(f"{weak} more have a weak label, from one person: a second look makes it trusted")
    return missing


def _replay_missing(pool: Iterable[Lesson], asked: Asked) -> list[str]:
    lacking = [name for is_fake, name in enumerate(_CLASSES) if all(each.is_fake != bool(is_fake) for each in pool)]
    if not asked.replay or not lacking:
        return []
    return [
        f"no {' or '.join(lacking)} pictures are known that the prompt was first tuned on, and so nobody could tell "
        "whether it forgets: give them with modctl prompt import FILE --manifest CSV, or do without: --no-replay"
    ]


def _by_side(lessons: Iterable[Lesson]) -> dict[str, dict[str, int]]:
    table = {str(side): dict.fromkeys(_CLASSES, 0) for side in Side}
    for lesson in lessons:
        table[lesson.side][_CLASSES[lesson.is_fake]] += 1
    return table


def _counted(lessons: Iterable[Lesson], key: Callable[[Lesson], str]) -> dict[str, int]:
    return dict(sorted(Counter(map(key, lessons)).items()))
