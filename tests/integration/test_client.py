"""The web app's door."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from moderation import Decision, ImageFailed, Moderation, NotYetScored, UnknownImage
from moderation.domain.submission import ImageId
from moderation.errors import RejectReason
from tests.store import Store, rejected
from tests.waiting import GENEROUS_S


@pytest.fixture
def web_app(store: Store, broker_url: str) -> Iterator[Moderation]:
    url = store.database.url.render_as_string(hide_password=False)
    with Moderation(database_url=url, broker_url=broker_url) as opened:
        yield opened


def test_from_submit_to_verdict(web_app: Moderation, store: Store) -> None:
    assert web_app.submit("a", source="avatars", priority=2).new == 1
    assert web_app.verdict("a") is None
    store.score(store.take("a"), probability=0.25)
    verdict = web_app.verdict("a")
    assert verdict is not None
    assert (verdict.image_id, verdict.source, verdict.probability) == ("a", "avatars", 0.25)
    assert web_app.wait("a", timeout_s=0) == verdict
    assert web_app.verdicts(source="avatars", decision=Decision.ALLOW) == [verdict]
    assert web_app.verdicts(source="forum") == []


def test_an_image_nobody_submitted(web_app: Moderation) -> None:
    with pytest.raises(UnknownImage, match="never submitted"):
        web_app.verdict("a")
    with pytest.raises(KeyError):
        web_app.wait("a", timeout_s=0)


def test_an_image_that_failed_tells_why_at_once(web_app: Moderation, store: Store) -> None:
    web_app.submit("a")
    claim = store.take("a")
    store.claims.settle(claim, [rejected(claim.images[0])], None)
    with pytest.raises(ImageFailed) as caught:
        web_app.wait("a", timeout_s=GENEROUS_S)
    assert (caught.value.reason, caught.value.detail) == (RejectReason.TRUNCATED, "its second half is missing")


def test_waiting_ends_with_the_verdict(web_app: Moderation, store: Store) -> None:
    web_app.submit("a")
    claim = store.take("a")
    timer = threading.Timer(0.3, store.score, [claim])
    timer.start()
    assert web_app.wait("a", timeout_s=GENEROUS_S).image_id == "a"
    timer.join()


def test_waiting_has_an_end(web_app: Moderation) -> None:
    web_app.submit("a")
    began = time.monotonic()
    with pytest.raises(NotYetScored, match=r"within 0\.2 s"):
        web_app.wait("a", timeout_s=0.2)
    assert 0.2 <= time.monotonic() - began < 20.0


def test_an_old_verdict_is_not_shown_while_a_forced_round_is_on_its_way(web_app: Moderation, store: Store) -> None:
    web_app.submit("a")
    store.score(store.take("a"))
    web_app.submit("a", force=True)
    assert web_app.verdict("a") is None


def test_the_platform_says_who_uploaded_or_nobody_knows(web_app: Moderation, store: Store) -> None:
    web_app.submit("a", uploader="u-17")
    web_app.submit_many(["b", "c"], uploader={"c": "u-18"})
    assert [store.row(name).uploader for name in "abc"] == ["u-17", "", "u-18"]
    for wrong in ("x" * 201, "two\nlines"):
        with pytest.raises(ValueError, match="an uploader has at most 200 printable characters"):
            web_app.submit_many(["d", "e"], uploader={"e": wrong})
    with pytest.raises(ValueError, match="an uploader is text, not int: 17"):
        web_app.submit("d", uploader=17)  # type: ignore[arg-type]  # what a web app without types may pass
    assert store.submissions.get(ImageId("d")) is None, "all or none"


def test_no_ids_are_no_work(web_app: Moderation) -> None:
    receipt = web_app.submit_many([])
    assert (receipt.new, receipt.known, receipt.queued) == (0, 0, True)


def test_any_iterable_of_ids_will_do(web_app: Moderation) -> None:
    assert web_app.submit_many(f"{number}.jpg" for number in range(3)).new == 3
