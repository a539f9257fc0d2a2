"""Dashboard: how the queue, the detector and the people are doing, gathered at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from moderation.domain.evidence import Scope, rule_of
from moderation.domain.policy import ANY_SOURCE, Policy
from moderation.domain.reliability import Bin, reliability
from moderation.domain.verdict import Decision
from moderation.flows.reviewing.evidence import Archive
from moderation.storage.dashboard import Dashboard, Pace, Waiting

DAYS = 14
SCORE_DAYS = 30
PACE_DAYS = 7
SCORE_BINS = 20


@dataclass(frozen=True, slots=True)
class Day:
    """What was decided on one day (UTC), by the machine and by people."""

    date: date
    decisions: Mapping[Decision, int]
    answers: int

    @property
    def verdicts(self) -> int:
        """All decisions of the machine."""
        return sum(self.decisions.values())


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything the dashboard shows. `scores`: verdicts in equal parts of 0..1; `policies`: what holds, by source."""

    at: datetime
    waiting: Sequence[Waiting]
    days: Sequence[Day]
    scores: Sequence[int]
    policies: Mapping[str, Policy]
    reliability: Sequence[Bin]
    pace: Sequence[Pace]


def overview(dashboard: Dashboard, archive: Archive, policies: Mapping[str, Policy], now: datetime) -> Overview:
    """The state at `now`: the last two weeks by day, a month of scores, a week of reviewers; labels of all time."""
    first = (now - timedelta(days=DAYS - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    decisions, answers = dashboard.decisions_by_day(first), dashboard.answers_by_day(first)
    dates = [(first + timedelta(days=number)).date() for number in range(DAYS)]
    return Overview(
        at=now,
        waiting=dashboard.waiting(),
        days=[Day(each, decisions.get(each, {}), answers.get(each, 0)) for each in dates],
        scores=dashboard.scores(now - timedelta(days=SCORE_DAYS), SCORE_BINS),
        policies=policies,
        reliability=_reliability(archive, policies),
        pace=dashboard.pace(now - timedelta(days=PACE_DAYS)),
    )


def _reliability(archive: Archive, policies: Mapping[str, Policy]) -> list[Bin]:
    if ANY_SOURCE not in policies:
        return []
    rule = rule_of(policies)
    return reliability(archive.gather(Scope(), rule, rule, count_drawn=False).labelled)
