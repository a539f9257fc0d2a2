"""Drift: the newest span of scores and labels beside the one before it.

Scores of different prompts don't compare, so only those by the prompt that is active now are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from moderation.domain.drift import (
    MIN_IMAGES,
    DriftReport,
    Estimate,
    Overturned,
    Scores,
    SourceDrift,
    broken_limits,
    compare,
    overturned,
)
from moderation.domain.drift_limits import ALL_SOURCES, Limits
from moderation.domain.evidence import LabelledImage, Rule, Scope, rule_of
from moderation.domain.policy import PolicyId
from moderation.domain.review import Trust
from moderation.errors import ConfigurationError
from moderation.flows.reviewing.evidence import Archive
from moderation.storage.drift import Counted, Drift
from moderation.storage.policies import Policies, for_sources
from moderation.storage.registry.prompts import Prompts

WINDOW = timedelta(days=7)
BASELINE = timedelta(days=30)


@dataclass(slots=True)
class _Pile:
    """What one source has in one span."""

    images: int = 0
    flagged: int = 0
    histogram: Counter[int] = field(default_factory=Counter)
    policies: set[int] = field(default_factory=set)

    def add(self, counted: Counted, prompt_id: str | None) -> None:
        self.images += counted.images
        if counted.prompt_id == prompt_id:
            self.histogram[counted.step] += counted.images
            self.flagged += counted.flagged
            self.policies.add(counted.policy_id)

    @property
    def scores(self) -> Scores:
        return Scores(self.histogram, self.flagged)


@dataclass(frozen=True)
class DriftWatch:
    """All that a look for drift needs. backbone: whose active prompt's scores are compared."""

    drift: Drift
    archive: Archive
    prompts: Prompts
    policies: Policies
    backbone: str
    limits: Limits

    def look(
        self, *, window: timedelta = WINDOW, baseline: timedelta = BASELINE, source: str | None = None
    ) -> DriftReport:
        """The last `window` beside the `baseline` before it. Raises ServiceDown; ConfigurationError for empty spans."""
        until = self.drift.now()
        split, since = spans(until, window, baseline)
        active = self.prompts.active(self.backbone)
        prompt_id = active.prompt_id if active else self.archive.replay.newest_prompt(source)
        piles = self._piles(since, split, until, source, prompt_id)
        policies = self.policies.current()
        for_sources(policies, [ALL_SOURCES])
        people = _People(self.archive, split, prompt_id, rule_of(policies), source)
        review_at = {version.policy_id: version.thresholds.review_at for version in self.policies.history()}
        names = [source] if source is not None else [ALL_SOURCES, *sorted({name for name, _ in piles} - {ALL_SOURCES})]
        single = len(names) == 2  # then all sources together are that one, and one alarm is enough
        found = [
            self._source(name, piles[name, False], piles[name, True], people, review_at, silent=single and not number)
            for number, name in enumerate(names)
        ]
        return DriftReport(since, split, until, prompt_id, tuple(found))

    def _piles(
        self, since: datetime, split: datetime, until: datetime, source: str | None, prompt_id: str | None
    ) -> dict[tuple[str, bool], _Pile]:
        piles: dict[tuple[str, bool], _Pile] = defaultdict(_Pile)
        for counted in self.drift.count(since, split, until, source):
            piles[ALL_SOURCES, counted.in_window].add(counted, prompt_id)
            piles[counted.source, counted.in_window].add(counted, prompt_id)
        return piles

    def _source(
        self,
        name: str,
        before: _Pile,
        after: _Pile,
        people: _People,
        review_at: Mapping[PolicyId, float],
        *,
        silent: bool,
    ) -> SourceDrift:
        comparison = compare(before.scores, after.scores)
        same = (
            name == ALL_SOURCES
            or len({review_at[PolicyId(version)] for version in before.policies | after.policies}) <= 1
        )
        said, error = people.overturned(name), people.error(name)
        broken = broken_limits(
            name, self.limits, comparison=comparison, same_thresholds=same, overturned=said, error=error
        )
        return SourceDrift(
            source=name,
            images=after.images,
            images_before=before.images,
            compared=after.scores.images,
            compared_before=before.scores.images,
            comparison=comparison,
            overturned=said,
            error=error,
            notes=tuple(_notes(before, after, is_compared=comparison is not None, same_thresholds=same)),
            broken=() if silent else broken,
        )


class _People:
    """What labels of the window say, of all sources or of one."""

    def __init__(
        self, archive: Archive, since: datetime, prompt_id: str | None, rule: Rule, source: str | None
    ) -> None:
        self._archive = archive
        self._rule = rule
        self._scope = Scope(since=since, prompt_id=prompt_id, source=source)
        self._only = source
        self._all = archive.gather(self._scope, rule, rule, count_drawn=False)
        self._by_source: dict[str, list[LabelledImage]] = defaultdict(list)
        for label in self._all.labelled:
            self._by_source[label.image.source].append(label)

    def overturned(self, source: str) -> Overturned:
        labelled = self._all.labelled if source == ALL_SOURCES else self._by_source.get(source, [])
        return overturned([(label.image.decision, label.is_fake) for label in labelled if label.trust is Trust.TRUSTED])

    def error(self, source: str) -> Estimate | None:
        if source in (ALL_SOURCES, self._only):
            evidence = self._all
        elif self._by_source.get(source):
            scope = Scope(source=source, since=self._scope.since, prompt_id=self._scope.prompt_id)
            evidence = self._archive.gather(scope, self._rule, self._rule, count_drawn=False)
        else:
            return None
        found = evidence.now.wrongly_decided() if evidence.labelled else None
        return Estimate(found.value, found.low, found.high) if found else None


def spans(until: datetime, window: timedelta, baseline: timedelta) -> tuple[datetime, datetime]:
    """When the window and the baseline begin. Raises ConfigurationError for spans that are empty or before all time."""
    try:
        split = until - window
        since = split - baseline
    except OverflowError:
        raise ConfigurationError("--baseline", "begins before the first year") from None
    for option, span in (("--window", window), ("--baseline", baseline)):
        if span <= timedelta(0):
            raise ConfigurationError(option, f"{span} is no span of time", hint="for example 7d, or 24h")
    return split, since


def _notes(before: _Pile, after: _Pile, *, is_compared: bool, same_thresholds: bool) -> Iterable[str]:
    others = before.images + after.images - before.scores.images - after.scores.images
    if not is_compared:
        found = f"{after.scores.images} images in the window, {before.scores.images} before it"
        by = " by the active prompt" if others else ""
        yield f"too few to say: {found}{by}; {MIN_IMAGES} each are needed"
    if others:
        yield f"the prompt changed within the spans: {others} images by other prompts are left out"
    if is_compared and not same_thresholds:
        yield "review_at changed within the spans: the share flagged raises no alarm"
