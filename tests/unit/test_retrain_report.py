"""The report of a retraining: one page, what the gate found on top, and no name that it obeys."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from moderation.evaluation.gate import GateResult, Judged, judge
from moderation.evaluation.retrain_report import RetrainTold, render_retrain
from moderation.evaluation.tuning_report import EpochRow
from moderation.miniature import samples
from tests.page import HOSTILE, Page

N = 120
COUNTS = {
    "images": 1412,
    "held_out": 91,
    "side": {"train": {"real": 120, "fake": 140}, "val": {"real": 30, "fake": 31}},
    "source": {"web": 200, HOSTILE: 12},
    "replay": {"pictures": 500, "generator": {"vae": 120}},
    "left_out": {"over the uploader's cap": 13},
    "missing": [],
}


def judged(*, shift: float = 3.0, part: str = "holdout", failing: bool = True) -> Judged:
    """Half fakes. The candidate tells them apart better; row 0 it could not score, row 1 the active could not."""
    rng = np.random.default_rng(0)
    is_fake = np.arange(N) % 2 == 1
    before = rng.normal(is_fake * 2.0 - 1.0)
    after = before + shift * (is_fake - 0.5)
    before[1] = np.nan
    if failing:
        after[0] = np.nan
    names = {name: np.full(N, "", dtype=object) for name in ("group", "generator", "band")}
    return Judged(
        is_fake=is_fake,
        before_p=1 / (1 + np.exp(-before)),
        before_margin=before,
        after_p=1 / (1 + np.exp(-after)),
        after_margin=after,
        threshold=np.full(N, 0.5),
        source=np.array(["web", "web", HOSTILE, HOSTILE] * (N // 4), dtype=object),
        part=np.full(N, part, dtype=object),
        **names,
    )


def told(rows: Judged | None = None, **changes: Any) -> RetrainTold:
    rows = judged() if rows is None else rows
    pictures = [sample.path.read_bytes() for sample in samples()[:5]]
    found = RetrainTold(
        name="run 12",
        facts={"command": f"modctl retrain {HOSTILE}", "seed": "42", "manifest": "c0ffee"},
        counts=COUNTS,
        history=[EpochRow(1, 0.7, 0.69, 0.6, 1e-3, 2.0), EpochRow(2, 0.5, 0.6, 0.7)],
        rows=rows,
        result=judge(rows, margin=0.01, seed=42, with_replay=False, resamples=50),
        names=[f"image {at} {HOSTILE}" for at in range(len(rows))],
        picture=lambda row: pictures[row % 5] if row % 2 else None,
        best_epoch=2,
        before="45ab",
        after="77cd",
        warning="only a miniature",
    )
    return replace(found, **changes)


def drawn(given: RetrainTold) -> Page:
    return Page(render_retrain(given))


@pytest.fixture(scope="module")
def page() -> Page:
    return drawn(told())


def test_the_page_needs_nothing_else(page: Page) -> None:
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    assert all((image["src"] or "").startswith("data:image/") for image in page.of("img"))
    assert not re.search(r"url\(|@import|https?://", page.text)
    (policy,) = [meta["content"] for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert page.text.isascii() or 'charset="utf-8"' in page.text


def test_links_lead_to_sections_that_are_there(page: Page) -> None:
    assert {link["href"] for link in page.of("a")} == {f"#{section['id']}" for section in page.of("section")}


def test_names_are_shown_and_not_obeyed(page: Page) -> None:
    assert "<script" not in page.text
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert page.text.count("&lt;script&gt;alert(1)") > 5  # in cards, counts, facts and slices


def test_every_picture_has_words_and_every_column_a_head(page: Page) -> None:
    assert all(image["alt"] for image in page.of("img"))
    assert all(head.get("scope") in ("col", "row", "rowgroup") for head in page.of("th"))


def test_what_was_run_is_said(page: Page) -> None:
    for words in (
        "run 12",
        "45ab",
        "77cd",
        "c0ffee",
        "only a miniature",
        "1,412",
        "120 real, 140 fake",
        "kept",
        "held out",
    ):
        assert words in page.text, words
    assert "over the uploader&#39;s cap" in page.text
    assert "missing" not in page.text  # what is empty is left out


@pytest.mark.parametrize("shift", [3.0, -3.0])
def test_the_gate_s_word_and_reasons_stand_on_top(shift: float) -> None:
    given = told(judged(shift=shift, failing=False))
    page = drawn(given)
    assert given.result.passed == (shift > 0)
    head = page.text[: page.text.index("</header>")]
    assert f"<strong>{given.result.word}.</strong>" in head
    assert ('class="note good"' in head, 'class="note alarm"' in head) == (shift > 0, shift < 0)
    assert given.result.reasons
    for reason in given.result.reasons:
        assert reason.replace("'", "&#39;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&#34;") in head


def test_the_table_has_a_row_for_each_line_with_its_figures(page: Page) -> None:
    result = told().result
    for line in result.lines:
        assert line.auc_before is not None
        assert line.auc_difference is not None
        assert (
            f"<td>{line.auc_before:.3f}</td><td>{line.auc_after:.3f}</td><td>{line.auc_difference.value:+.3f}"
            in page.text
        )
    assert "Without a score by the candidate, which counts as wrong: 1." in page.text
    assert "Without one by the active prompt, which leaves them out: 1." in page.text


def changed(rows: Judged) -> tuple[int, int]:
    """By hand: newly wrong, newly right."""
    before = (rows.before_p >= 0.5) == rows.is_fake
    after = np.where(np.isnan(rows.after_p), False, (rows.after_p >= 0.5) == rows.is_fake)
    there = ~np.isnan(rows.before_p)
    return int((there & before & ~after).sum()), int((there & ~before & after).sum())


def test_images_that_changed_sides_are_shown_with_both_probabilities(page: Page) -> None:
    rows = judged()
    wrong, right = changed(rows)
    assert (wrong >= 1, right >= 3) == (True, True)
    assert f"Newly wrong: {wrong}<" in page.text
    assert f"Newly right: {right}<" in page.text
    assert re.search(
        r"Real:</strong> <span class=\"tight\">[\d.]+ %</span>\s*&rarr; <span class=\"tight\">no score", page.text
    )
    thumbnails = [image["src"] or "" for image in page.of("img") if (image["src"] or "").startswith("data:image/jpeg")]
    assert 0 < len(thumbnails) < wrong + right  # some can't be had
    assert "no preview" in page.text
    for each in thumbnails:
        with Image.open(io.BytesIO(base64.b64decode(each.split(",")[1]))) as picture:
            assert max(picture.size) <= 160


def test_only_what_is_shown_is_fetched_and_the_farthest_moved_come_first() -> None:
    asked: list[int] = []

    def picture(row: int) -> bytes | None:
        asked.append(row)
        return b"no picture"

    rows = judged(shift=-6.0)  # nearly all are wrong now
    page = drawn(told(rows, picture=picture))
    assert len(asked) == 24
    assert "no preview" in page.text
    moved = [2.0 if np.isnan(gap) else gap for gap in np.abs(rows.after_p - rows.before_p)[asked].tolist()]
    assert moved == sorted(moved, reverse=True)


def test_both_parts_have_their_curves(page: Page) -> None:
    assert page.text.count("<figcaption>") == 3  # loss; ROC and reliability of the holdout
    both = [judged(), judged(part="replay")]
    rows = Judged(
        **{name: np.concatenate([getattr(one, name) for one in both]) for name in Judged.__dataclass_fields__}
    )
    text = drawn(told(rows)).text
    assert text.count("<figcaption>") == 5
    assert text.index("Reviewed images, held out") < text.index("Replay: what the base prompt knew")


def test_a_long_list_of_generators_is_one_row() -> None:
    text = drawn(told(counts={"replay": {"pictures": 60, "generator": {f"g{n}": n + 1 for n in range(40)}}})).text
    assert "1 g0, 2 g1, 3 g2" in text
    assert text.count('<th scope="row">g') == 0


def test_a_run_with_nothing_to_judge_has_a_report_too() -> None:
    rows = judged().select(np.zeros(N, dtype=np.bool_))
    page = drawn(told(rows, history=[], counts={}, facts={}, warning=""))
    assert "REFUSED" in page.text
    assert page.text.count("<p>None.</p>") == 2
    one_class = judged().select(~judged().is_fake)
    assert "REFUSED" in drawn(told(one_class)).text


def test_a_stored_result_gives_the_same_page(page: Page) -> None:
    given = told()
    assert render_retrain(replace(given, result=GateResult.from_json(given.result.to_json()))) == page.text


def test_names_must_fit_the_rows() -> None:
    with pytest.raises(ValueError, match="120 rows have 0 names"):
        render_retrain(told(names=[]))
