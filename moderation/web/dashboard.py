"""The dashboard: for an admin, on one page, from numbers gathered when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from markupsafe import Markup

from moderation.domain.policy import ANY_SOURCE
from moderation.domain.verdict import Decision
from moderation.flows.reviewing.dashboard import DAYS, PACE_DAYS, SCORE_BINS, SCORE_DAYS, Day, Overview, overview
from moderation.storage.dashboard import Dashboard
from moderation.web.charts import Mark, Series, histogram, reliability_diagram, stacked_bars
from moderation.web.pages import page
from moderation.web.site import Person, admin_of, site_of

router = APIRouter()
_SPANS = (
    (timedelta(days=2), "days", 86_400),
    (timedelta(hours=2), "hours", 3600),
    (timedelta(minutes=2), "minutes", 60),
)


@router.get("/dashboard")
def show(request: Request, person: Annotated[Person, Depends(admin_of)]) -> Response:
    wiring = site_of(request).wiring
    found = overview(Dashboard(wiring.database), wiring.archive, wiring.policies.current(), datetime.now(UTC))
    spans = {"days": DAYS, "score_days": SCORE_DAYS, "pace_days": PACE_DAYS}
    return page(
        request,
        "dashboard.html",
        person=person,
        found=found,
        **spans,
        open=sum(each.open for each in found.waiting),
        held=sum(each.held for each in found.waiting),
        oldest=age(found.at - min(each.oldest for each in found.waiting)) if found.waiting else "",
        ages=[age(found.at - each.oldest) for each in found.waiting],
        decisions=list(Decision),
        days_chart=_days_chart(found.days),
        scores_chart=_scores_chart(found),
        score_bins=_score_bins(found.scores),
        reliability_chart=reliability_diagram("Claimed probability against the share of fakes", found.reliability),
    )


def age(span: timedelta) -> str:
    """A span for people: '3 days', '40 seconds'."""
    for least, unit, size in _SPANS:
        if span >= least:
            return f"{int(span.total_seconds() // size)} {unit}"
    return f"{max(0, int(span.total_seconds()))} seconds"


def _days_chart(days: Sequence[Day]) -> Markup:
    series = [Series(str(each), f"c-{each.lower()}", [day.decisions.get(each, 0) for day in days]) for each in Decision]
    return stacked_bars("Decisions of each day", [f"{day.date:%d %b}" for day in days], series)


def _scores_chart(found: Overview) -> Markup:
    marks: list[Mark] = []
    if ANY_SOURCE in found.policies:
        at = found.policies[ANY_SOURCE].thresholds
        marks = [
            Mark(f"review from {at.review_at:g}", "m-review", at.review_at),
            Mark(f"block from {at.block_at:g}", "m-block", at.block_at),
        ]
    return histogram("Scores, with the thresholds for all sources", found.scores, marks)


def _score_bins(scores: Sequence[int]) -> list[tuple[str, int]]:
    return [(f"{at / SCORE_BINS:.2f} to {(at + 1) / SCORE_BINS:.2f}", count) for at, count in enumerate(scores)]
