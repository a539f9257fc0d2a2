"""What a demo shows of its outcome, at several widths."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from moderation.cli import demo_view
from moderation.cli.demo import DemoRun
from moderation.domain.submission import ImageId, State, Submission
from moderation.domain.verdict import Decision, Verdict
from moderation.errors import RejectReason
from moderation.miniature import Sample, Truth

NOW = datetime(2026, 1, 31, tzinfo=UTC)
BATCH = {
    "images": 2.0,
    "queued_ms": 1.0,
    "fetch_ms": 2.0,
    "waited_ms": 3.0,
    "device_ms": 40.0,
    "write_ms": 5.0,
}


def sample(name: str, truth: Truth) -> Sample:
    family = "shuffle" if truth == "fake" else "none"
    return Sample(Path(name), truth, family, "cat", (0, 0, 9, 9), "somewhere", "CC0", "somebody")


def verdict(name: str, probability: float, decision: Decision) -> Verdict:
    return Verdict(
        image_id=ImageId(name), source="demo", round=1, decision=decision, probability=probability, margin=0.0,
        backbone="miniature", prompt_id="p", policy_id=1, shadow=False, image_sha256="", versions={}, latency_ms=1.0,
        created_at=NOW,
    )  # fmt: skip


def failed(name: str) -> Submission:
    return Submission(
        image_id=ImageId(name), source="demo", priority=0, state=State.FAILED, round=1, attempts=1, crashes=0,
        claimed=False, submitted_at=NOW, not_before=NOW, finished_at=NOW, reason=RejectReason.TRUNCATED, detail="half",
    )  # fmt: skip


def run(scored: dict[str, tuple[Truth, float, Decision]], lost: list[str] | None = None) -> DemoRun:
    lost = lost or []
    return DemoRun(
        samples={name: sample(name, truth) for name, (truth, _, _) in scored.items()}
        | {name: sample(name, "real") for name in lost},
        verdicts={name: verdict(name, probability, decision) for name, (_, probability, decision) in scored.items()},
        failed=[failed(name) for name in lost],
        seconds=2.0,
        batches=[BATCH, BATCH] if scored else [],
        broker="a private one",
        database="sqlite:////somewhere/moderation-demo.db",
        images="/somewhere/moderation-demo-images",
        backbone="miniature",
    )


FOUR = {
    "astronaut-with-a-long-name-00-fake.jpg": ("fake", 0.95, Decision.BLOCK),
    "b.jpg": ("fake", 0.2, Decision.ALLOW),
    "c.jpg": ("real", 0.6, Decision.REVIEW),
    "d.jpg": ("real", 0.1, Decision.ALLOW),
}  # type: dict[str, tuple[Truth, float, Decision]]


def test_figures_are_over_the_images_with_a_verdict() -> None:
    assert demo_view.figures(run(FOUR, lost=["e.jpg"])) == {
        "images": 5,
        "verdicts": 4,
        "failed": 1,
        "auc": 0.75,
        "accuracy": 0.5,
        "images_per_s": 2.0,
        "broker": "a private one",
        "database": "sqlite:////somewhere/moderation-demo.db",
        "backbone": "miniature",
    }


def test_figures_without_any_verdict_are_none() -> None:
    figures = demo_view.figures(run({}, lost=["e.jpg"]))
    assert (figures["auc"], figures["accuracy"], figures["images_per_s"]) == (None, None, 0.0)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_nothing_is_cut_at_any_width(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    monkeypatch.setattr(demo_view, "console", lambda: Console(width=width, highlight=False))
    demo_view.show(run(FOUR, lost=["e.jpg"]))
    shown = capsys.readouterr().out
    table = shown.partition("truth      ALLOW")[0]
    assert "…" not in shown
    assert max(len(line.rstrip()) for line in table.splitlines() if not line.startswith("failed")) <= width
    if width >= 80:
        assert "astronaut-with-a-long-name-00-fake.jpg" in table
    assert ("fake (shuffle)" in table) is (width == 120)


def test_shows_truth_against_decisions_and_the_way_on(capsys: pytest.CaptureFixture[str]) -> None:
    demo_view.show(run(FOUR, lost=["e.jpg"]))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "failed: e.jpg: truncated (half)" in shown
    assert "real           1       1       0\nfake           1       0       1\n" in shown
    assert "Where time went, 2 batches of 2 images on average" in shown
    assert "device       40 ms" in shown
    assert "export MODERATION_DATABASE_URL=sqlite:////somewhere/moderation-demo.db" in shown
    wrong = [line for line in shown.splitlines() if line.rstrip().endswith("wrong")]
    assert len(wrong) == 1
    assert "b.jpg" in wrong[0]


def test_a_demo_that_scored_nothing_can_still_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    demo_view.show(run({}, lost=["e.jpg"]))
    assert "AUC       none" in capsys.readouterr().out
