"""The frozen split: on which side, to train or to judge, each reviewed image stands. Drawn once, by hash, for ever.

Near-duplicates stand on one side together. Where an image that comes later is near to both sides it goes to neither.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from moderation.domain.lesson import Side
from moderation.domain.reviewed import LeftOut, Reviewed
from moderation.domain.sampling import is_drawn
from moderation.domain.submission import ImageId

Near = Callable[[Sequence[str]], Sequence[int]]
"""From perceptual hashes to the number of each one's group; '' is alone (`images.fingerprint.near_groups`)."""


@dataclass(frozen=True)
class Split:
    """Side and group of each image that has a place; why the others have none. A group's name is its lowest hash."""

    side: Mapping[ImageId, Side]
    group: Mapping[ImageId, str]
    refused: Mapping[ImageId, LeftOut]


def split(images: Sequence[Reviewed], known: Mapping[ImageId, Side], share: float, near: Near) -> Split:
    """Places the images. known: sides stored so far, TRAIN or HOLDOUT; share: of new groups, for the holdout.

    A group with a known side takes it. In one with both, new images are refused; if those that stay are near to each
    other all the same, as when a picture was replaced by another, the ones to train are refused too.
    """
    side: dict[ImageId, Side] = {}
    group: dict[ImageId, str] = {}
    refused: dict[ImageId, LeftOut] = {}

    def settle(members: Sequence[Reviewed], where: Side) -> None:
        name = min(member.sha256 for member in members)
        for member in members:
            side[member.image_id], group[member.image_id] = where, name

    for members in groups_of(images, near):
        sides = {known[member.image_id] for member in members if member.image_id in known}
        if len(sides) < 2:
            settle(members, sides.pop() if sides else _drawn(members, share))
            continue
        old = [member for member in members if member.image_id in known]
        refused.update((member.image_id, LeftOut.BRIDGE) for member in members if member.image_id not in known)
        for part in groups_of(old, near):
            held = [member for member in part if known[member.image_id] is Side.HOLDOUT]
            if held:
                refused.update((member.image_id, LeftOut.LEAK) for member in part if member not in held)
            settle(held or part, Side.HOLDOUT if held else Side.TRAIN)
    return Split(side, group, refused)


def groups_of(images: Sequence[Reviewed], near: Near) -> list[list[Reviewed]]:
    """The images in groups: whoever has the same bytes as another or is near to it is with it."""
    parents = list(range(len(images)))

    def root(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    for keys in ([image.sha256 for image in images], near([image.pdq for image in images])):
        for first, other in _pairs(keys):
            one, two = root(first), root(other)
            parents[max(one, two)] = min(one, two)
    found: dict[int, list[Reviewed]] = defaultdict(list)
    for place, image in enumerate(images):
        found[root(place)].append(image)
    return list(found.values())


def _pairs(keys: Iterable[Hashable]) -> Iterable[tuple[int, int]]:
    """Each place together with the first that has the same key."""
    first: dict[Hashable, int] = {}
    for place, key in enumerate(keys):
        yield first.setdefault(key, place), place


def _drawn(members: Sequence[Reviewed], share: float) -> Side:
    sha256, source = min((member.sha256, member.source) for member in members)
    return Side.HOLDOUT if is_drawn(f"holdout\n{source}\n{sha256}", share) else Side.TRAIN
