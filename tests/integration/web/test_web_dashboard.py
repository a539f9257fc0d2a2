"""The dashboard's figures, as an admin reads them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from moderation.domain.policy import ANY_SOURCE, Thresholds
from moderation.domain.review import Answer, Reason, Role
from moderation.domain.verdict import Decision
from moderation.flows.reviewing.dashboard import DAYS, Overview, overview
from moderation.storage.dashboard import Dashboard
from moderation.storage.tables import VerdictRow
from tests.moderated import answer, score
from tests.visitor import Visitor
from tests.website import Website


def gathered(website: Website) -> Overview:
    wiring = website.wiring
    return overview(Dashboard(wiring.database), wiring.archive, wiring.policies.current(), datetime.now(UTC))


@pytest.fixture
def busy(website: Website) -> Website:
    """Eight images, four of them looked at; an old one and one of a policy that audits a half."""
    at = Thresholds(0.5, 0.9, audit_rate=1.0, block_check_rate=1.0)
    website.store.policies.set(ANY_SOURCE, at, author="ann", reason="for the test")
    score(website.store, {"a": 0.05, "b": 0.12, "c": 0.55, "d": 0.58, "e": 0.91, "f": 1.0})
    answer(website.store, {"a": Answer.REAL, "c": Answer.FAKE, "d": Answer.REAL}, reviewer="ann")
    answer(website.store, {"f": Answer.FAKE}, reviewer="bob")
    return website


def test_the_figures(busy: Website) -> None:
    found = gathered(busy)
    assert {(each.reason, each.open) for each in found.waiting} == {(Reason.AUDIT, 1), (Reason.BLOCK_CHECK, 1)}
    assert len(found.days) == DAYS
    assert dict(found.days[-1].decisions) == {Decision.ALLOW: 2, Decision.REVIEW: 2, Decision.BLOCK: 2}
    assert (found.days[-1].answers, found.days[-1].verdicts, found.days[0].verdicts) == (4, 6, 0)
    assert [at for at, count in enumerate(found.scores) if count] == [1, 2, 11, 18, 19]
    assert sum(found.scores) == 6
    assert [(each.reviewer, each.answers, each.seconds) for each in found.pace] == [("ann", 3, None), ("bob", 1, None)]
    bins = [(each.images, round(each.claimed, 3), each.fake) for each in found.reliability]
    assert bins == [(1, 0.05, 0.0), (2, 0.565, 0.5), (1, 1.0, 1.0)]


def test_an_old_verdict_counts_for_its_own_day_or_not_at_all(busy: Website) -> None:
    database = busy.store.database
    for name, days in (("a", 3), ("b", 20), ("c", 40)):
        moment = datetime.now(UTC) - timedelta(days=days)
        with database.write() as session:
            session.execute(update(VerdictRow).where(VerdictRow.image_id == name).values(created_at=moment))
    found = gathered(busy)
    assert [day.verdicts for day in found.days if day.verdicts] == [1, 3]
    assert sum(found.scores) == 5


def test_an_empty_platform_has_an_empty_dashboard(website: Website) -> None:
    page = Visitor.logged_in(website, "eve", Role.ADMIN).client.get("/dashboard").text
    for words in ("Nothing waits for a person", "No drawn image has a label yet", "Nobody answered"):
        assert words in page


def test_the_page_shows_charts_and_the_same_numbers_as_tables(busy: Website) -> None:
    visitor = Visitor.logged_in(busy, "eve", Role.ADMIN)
    visitor.answer(visitor.post("next").json()["task"])
    page = visitor.client.get("/dashboard").text
    assert len(re.findall(r'<svg class="chart"[^>]*role="img" aria-label="[^"]+"', page)) == 3
    assert "review from 0.5" in page
    assert "block from 0.9" in page
    flat = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert re.search(r"0\.55 to 0\.60 2 ", flat)
    assert re.search(r"eve 1 2\.5 ", flat)
    assert re.search(r"0\.56 0\.50 0\.09 to 0\.91 2 ", flat)
