"""Rehearsal: what a retraining sees again of the data the prompt was first tuned on, so that it does not forget.

What was trained on once may be trained on again; what was kept aside then judges now, and never trains.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest

from moderation.domain.lesson import Lesson, Origin, Side

REASON = "replay"
LEAST = 200
"""Pictures to train on again, if there are so many, however few were reviewed. A convention."""
MOST_JUDGED = 1000
"""Pictures that judge, at most: with 500 a class an AUC near .9 is known to about .02 (Hanley and McNeil 1982)."""
VAL_SHARE = 0.2
"""Of the groups that train, for early stopping and calibration. A convention."""

_CLASSES = (False, True)


def files(lessons: Iterable[Lesson]) -> tuple[list[Lesson], bool]:
    """The pictures in files of a manifest, and whether they are its own: those that were replayed count only where
    there are no others, and then none of them but the judges are kept from training."""
    found = [lesson for lesson in lessons if lesson.origin is Origin.FILE]
    own = [lesson for lesson in found if lesson.reason != REASON]
    if own or not found:
        return own, True
    return [replace(lesson, side=Side.TRAIN) if lesson.side is Side.VAL else lesson for lesson in found], False


def rehearse(pool: Sequence[Lesson], pictures: int, seed: int) -> list[Lesson]:
    """Of the pool's TRAIN about `pictures` (at least LEAST), a share of their groups to validate; its others judge.

    Classes, and within them generators, are taken in equal numbers as far as there are so many. A pool that kept
    nothing aside gives up a share of its groups, always the same ones.
    """
    judges = [lesson for lesson in pool if lesson.side is not Side.TRAIN]
    teachers = [lesson for lesson in pool if lesson.side is Side.TRAIN]
    if not judges:
        aside = draw_groups(teachers, VAL_SHARE, "replay holdout")
        judges = [lesson for lesson in teachers if group_of(lesson) in aside]
        teachers = [lesson for lesson in teachers if group_of(lesson) not in aside]
    chosen = balanced(teachers, max(LEAST, pictures), f"replay\n{seed}")
    val = draw_groups(chosen, VAL_SHARE, f"replay val\n{seed}")
    drawn = [_with(lesson, Side.VAL if group_of(lesson) in val else Side.TRAIN) for lesson in chosen]
    return [*drawn, *(_with(lesson, Side.HOLDOUT) for lesson in balanced(judges, MOST_JUDGED, "replay holdout"))]


def balanced(lessons: Iterable[Lesson], most: int, key: str) -> list[Lesson]:
    """At most `most` of the lessons: half of each class, of its generators in turns, in the order that `key` makes."""
    queues: dict[bool, dict[str, list[Lesson]]] = {is_fake: defaultdict(list) for is_fake in _CLASSES}
    for lesson in sorted(lessons, key=lambda lesson: shuffled(key, lesson.name)):
        queues[lesson.is_fake][lesson.generator].append(lesson)
    taken: list[Lesson] = []
    for is_fake in _CLASSES:
        turns = zip_longest(*(queue for _, queue in sorted(queues[is_fake].items())))
        taken += [lesson for turn in turns for lesson in turn if lesson is not None][: most // 2]
    return sorted(taken, key=lambda lesson: lesson.name)


def draw_groups(lessons: Iterable[Lesson], share: float, key: str) -> set[str]:
    """About `share` of the groups, by hash: of those of each class at least one if there are two.

    A group with both classes counts as that of its first lesson by name.
    """
    kind: dict[str, bool] = {}
    for lesson in sorted(lessons, key=lambda lesson: lesson.name):
        kind.setdefault(group_of(lesson), lesson.is_fake)
    drawn: set[str] = set()
    for is_fake in _CLASSES:
        names = sorted((name for name, each in kind.items() if each is is_fake), key=lambda name: shuffled(key, name))
        if len(names) > 1:
            drawn.update(names[: max(1, round(share * len(names)))])
    return drawn


def group_of(lesson: Lesson) -> str:
    """Its group; a lesson without one is alone."""
    return lesson.group or lesson.name


def shuffled(key: str, name: str) -> bytes:
    """Where `name` stands in the order that `key` makes: the same whatever else there is."""
    return hashlib.sha256(f"{key}\n{name}".encode("utf-8", "surrogateescape")).digest()


def _with(lesson: Lesson, side: Side) -> Lesson:
    return replace(lesson, side=side, reason=REASON, weight=1.0, group=group_of(lesson))
