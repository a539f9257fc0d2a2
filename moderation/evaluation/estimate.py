"""Estimates from labels of a biased sample: how many fakes there are, and how good the thresholds are.

The estimator is a post-stratified ratio (Hajek) estimator: images are split into cells by kind (what was decided, and
which share of such is drawn) and by what the thresholds make of their scores; the size of each cell is known; the share
of fakes in it is that among its labelled images, weighed by the inverse of their inclusion probabilities (Horvitz and
Thompson 1952; Sarndal, Swensson and Wretman, "Model Assisted Survey Sampling", 1992). Tasks that nobody
has answered yet, and labels that are disputed, are taken to be like the answered ones of their cell.

Intervals: 95 %, from the Jeffreys posterior of each cell's share, Beta(fakes + 1/2, reals + 1/2), with Kish's effective
number of labels where weights differ (Brown, Cai and DasGupta 2001 for one proportion; drawn together here). Unlike a
linearised variance it stays wide where a cell's few labels all agree: no fake among 30 audited is no proof of none.

A cell without labels borrows its kind's share, with the interval of no knowledge; a figure that needs a kind nobody has
labelled is None, never a guess.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from moderation.domain.evidence import Group, Kind, LabelledImage, Rule
from moderation.domain.verdict import Decision

DRAWS = 2000
_TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Estimated:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class AtThreshold:
    """How good a threshold is at telling fakes, if what lies at or above it counts as called fake."""

    false_positive_rate: Estimated | None
    recall: Estimated | None
    precision: Estimated | None


class Cell(NamedTuple):
    """Images that were drawn alike and that a rule decides alike."""

    kind: Kind
    decision: Decision


class Tally:
    """The labels of a cell or kind, added up by weight."""

    def __init__(self) -> None:
        self.labelled = 0
        self._fake = self._all = self._squares = 0.0

    def add(self, label: LabelledImage) -> None:
        self.labelled += 1
        self._fake += label.weight * label.is_fake
        self._all += label.weight
        self._squares += label.weight**2

    @property
    def share(self) -> float | None:
        """The share of fakes; None without labels."""
        return self._fake / self._all if self.labelled else None

    def posterior(self) -> tuple[float, float]:
        """a and b of the Beta distribution of the share."""
        effective = self._all**2 / self._squares if self.labelled else 0.0  # Kish 1965: of so many equal weights
        share = self.share or 0.0
        return effective * share + 0.5, effective * (1.0 - share) + 0.5


class Population:
    """The images of a scope, counted by what `rule` makes of them, with what their labels say."""

    def __init__(self, images: Mapping[Cell, int], labels: Iterable[LabelledImage], rule: Rule) -> None:
        self.images = images
        self._cells: dict[Cell, Tally] = defaultdict(Tally)
        self._kinds: dict[Kind, Tally] = defaultdict(Tally)
        for label in labels:
            image = label.image
            self._cells[Cell(image.kind, rule.decide(image.source, image.score))].add(label)
            self._kinds[image.kind].add(label)
        self._shares = {cell: self._share(cell) for cell in self.images}
        self._draws = self._draw()

    def prevalence(self) -> Estimated | None:
        """The share of fakes among all images."""
        return self._ratio(self.images, self.images, of_fakes=True, among=None)

    def at(self, flagged: Collection[Decision]) -> AtThreshold:
        """How good the threshold is from which on images get these decisions."""
        cells = [cell for cell in self.images if cell.decision in flagged]
        return AtThreshold(
            false_positive_rate=self._ratio(cells, self.images, of_fakes=False, among=False),
            recall=self._ratio(cells, self.images, of_fakes=True, among=True),
            precision=self._ratio(cells, cells, of_fakes=True, among=None),
        )

    def number(self, decision: Decision, *, of_fakes: bool) -> Estimated | None:
        """How many fakes, or real ones, get this decision."""
        cells = [cell for cell in self.images if cell.decision is decision]
        return self._estimate(cells, lambda shares: self._sum(cells, shares, of_fakes))

    def wrongly_decided(self) -> Estimated | None:
        """The share of all images that the machine decides alone and wrongly: fakes allowed, real ones blocked."""
        allowed, blocked = (
            [cell for cell in self.images if cell.decision is decision] for decision in (Decision.ALLOW, Decision.BLOCK)
        )
        total = sum(self.images.values())

        def value(shares: dict[Cell, float]) -> float:
            wrong = self._sum(allowed, shares, True) + self._sum(blocked, shares, False)
            return wrong / total if total else float("nan")

        return self._estimate([*allowed, *blocked], value)

    def share_of_fakes(self, kind: Kind) -> Estimated | None:
        """The share of fakes among the images of a kind."""
        cells = [cell for cell in self.images if cell.kind == kind]
        return self._ratio(cells, cells, of_fakes=True, among=None)

    def _ratio(
        self, top: Collection[Cell], bottom: Collection[Cell], *, of_fakes: bool, among: bool | None
    ) -> Estimated | None:
        """Fakes (or real ones) of the cells `top`, among the fakes, the real ones or all (None) of `bottom`."""

        def value(shares: dict[Cell, float]) -> float:
            whole = self._sum(bottom, shares, among)
            return self._sum(top, shares, of_fakes) / whole if whole else float("nan")

        return self._estimate([*top, *bottom], value)

    def _sum(self, cells: Iterable[Cell], shares: dict[Cell, float], fakes: bool | None) -> float:
        if fakes is None:
            return float(sum(self.images[cell] for cell in cells))
        return sum(self.images[cell] * (shares[cell] if fakes else 1.0 - shares[cell]) for cell in cells)

    def _estimate(self, cells: Iterable[Cell], value: Callable[[dict[Cell, float]], float]) -> Estimated | None:
        if any(self._shares[cell] is None for cell in cells):
            return None
        point = value({cell: share for cell, share in self._shares.items() if share is not None})
        if math.isnan(point):  # nothing to divide by
            return None
        drawn = sorted(each for each in map(value, self._draws) if not math.isnan(each))
        low, high = drawn[int(_TAIL * len(drawn))], drawn[-1 - int(_TAIL * len(drawn))]
        return Estimated(point, min(low, point), max(high, point))

    def _share(self, cell: Cell) -> float | None:
        own = self._cells[cell].share
        return self._kinds[cell.kind].share if own is None else own

    def _draw(self) -> list[dict[Cell, float]]:
        chance = random.Random(0)  # the same labels give the same interval
        posteriors = {cell: self._cells[cell].posterior() for cell in self.images}
        return [{cell: chance.betavariate(*ab) for cell, ab in posteriors.items()} for _ in range(DRAWS)]


def cells_of(groups: Iterable[Group]) -> dict[Cell, int]:
    """The groups' images by kind and by what becomes of them."""
    images: dict[Cell, int] = defaultdict(int)
    for group in groups:
        images[Cell(group.kind, group.after)] += group.images
    return dict(images)
