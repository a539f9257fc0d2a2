"""An image that people have looked at, and why it may not teach."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from moderation.domain.review import Trust
from moderation.domain.submission import ImageId

SURE = 0.9
"""From this P(fake) on, or down to one minus it, the machine was sure. A convention."""

_SMALL, _MEDIUM = 256, 1024  # pixels of the shorter side, below which a picture is small, or medium


class LeftOut(StrEnum):
    """Why a reviewed image does not teach."""

    NO_LABEL = "nobody said real or fake"
    DISPUTED = "people differ"
    WEAK = "its label is weak"
    WEAK_JUDGE = "its label is too weak to judge by"
    GOLD = "gold, kept to measure reviewers"
    CHANGED = "changed since it was reviewed"
    FAILED = "could not be had when last scanned"
    CONFLICT = "the same bytes are labelled both ways"
    COPY = "the same bytes teach already"
    BRIDGE = "near both halves"
    LEAK = "near the holdout"
    UPLOADER = "over the uploader's cap"
    SOURCE = "over the source's cap"


@dataclass(frozen=True, slots=True)
class Reviewed:
    """An image as it is now, and what people say of it. `pdq` is '' where it has none, `uploader` where unknown.

    is_fake: None where there is no label. reason: why people were asked first. probability: its newest verdict's
    P(fake). barred: why it can't teach, whatever its label.
    """

    image_id: ImageId
    source: str
    uploader: str
    sha256: str
    pdq: str
    width: int
    height: int
    is_fake: bool | None
    trust: Trust
    reason: str
    probability: float | None
    barred: LeftOut | None = None

    @property
    def band(self) -> str:
        """Its size class by the shorter side: small below 256 pixels, medium below 1024, large."""
        return size_band(self.width, self.height)

    @property
    def is_hard(self) -> bool:
        """Whether the machine was sure of the opposite of what people say."""
        if self.probability is None or self.is_fake is None:
            return False
        return self.probability <= 1 - SURE if self.is_fake else self.probability >= SURE

    def unfit(self, *, include_weak: bool) -> LeftOut | None:
        """Why it does not teach, as far as it can be told from the image alone."""
        if self.barred is not None:
            return self.barred
        if self.trust is Trust.DISPUTED:
            return LeftOut.DISPUTED
        if self.is_fake is None:
            return LeftOut.NO_LABEL
        return LeftOut.WEAK if self.trust is not Trust.TRUSTED and not include_weak else None


def size_band(width: int, height: int) -> str:
    """A picture's size class by its shorter side in pixels: small, medium or large."""
    shorter = min(width, height)
    return "small" if shorter < _SMALL else "medium" if shorter < _MEDIUM else "large"
