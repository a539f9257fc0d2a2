"""Reports: one file that needs nothing else, says what it found, and is not fooled by names."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from moderation.datasets.published import published_table
from moderation.evaluation import charts
from moderation.evaluation.report import render, render_tuning
from moderation.evaluation.result import Evaluation, Subject, assess, comparisons, unreadable
from moderation.evaluation.robustness import CONDITIONS, robustness_table
from moderation.evaluation.scores import ScoreRow, ScoreTable
from moderation.evaluation.shortcuts import Shortcut
from moderation.evaluation.thumbnails import MOST, common_folder, mistakes, thumbnail
from moderation.evaluation.tuning_report import EpochRow, TuningReport
from moderation.miniature import samples
from tests.page import HOSTILE, Page

SUBJECTS = (Subject("tuned", "sha256 45", 0.5), Subject("zero-shot", "the plain question", 0.4))


def made_up(
    *, sets: tuple[str, ...] = ("first", "second"), conditions: tuple[str, ...] = ("", "jpeg 75")
) -> ScoreTable:
    """Rows of sample pictures with made-up scores; "tuned" tells most fakes, "zero-shot" nothing."""
    rng = np.random.default_rng(0)
    rows = []
    for number, sample in enumerate(samples()[:40]):
        is_fake = sample.truth == "fake"
        for subject, gain in zip(SUBJECTS, (2.0, 0.0), strict=True):
            for condition in conditions:
                margin = float(rng.normal(gain if is_fake else -gain, 1.5))
                chance = 1 / (1 + float(np.exp(-margin)))
                name, group = sets[number % len(sets)], f"{sample.photograph} {sample.box}"
                rows.append(
                    ScoreRow(
                        subject.name,
                        condition,
                        name,
                        str(sample.path),
                        is_fake,
                        sample.family,
                        "",
                        group,
                        margin,
                        chance,
                        "",
                        "",
                    )
                )
    rows.append(
        ScoreRow("tuned", "", sets[0], f"/nowhere/{HOSTILE}", False, "none", "", "", np.nan, np.nan, "", "not found")
    )
    rows.append(ScoreRow("tuned", "", sets[0], f"/nowhere/{HOSTILE}", False, HOSTILE, "", "", 5.0, 0.993, "", ""))
    return ScoreTable.of(rows)


def evaluated(table: ScoreTable, **changes: Any) -> Evaluation:
    sets = list(dict.fromkeys(table.set.tolist()))
    found = Evaluation(
        data={"path": "/data", "preset": None, "sha256": "c0ffee"},
        candidates=tuple(assess(table, subject, sets, resamples=20) for subject in SUBJECTS),
        comparisons=comparisons(table, SUBJECTS, resamples=20),
        unreadable=unreadable(table),
        robustness=tuple(robustness_table(table, {subject.name: subject.threshold for subject in SUBJECTS})),
        shortcuts=(
            Shortcut("bytes_per_pixel", "size of the file", "", 0.74, 0.7, 0.79, True, 20, 20, is_flagged=True),
            Shortcut("red", "mean red", "", 0.52, 0.48, 0.57, True, 20, 20, is_flagged=False),
        ),
        missing_sets=(),
        seed=7,
        resamples=20,
        provenance={"command": "modctl eval --data /data", "backbone": "miniature", "machine": {"device": "cpu"}},
    )
    return replace(found, **changes)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Page]:
    folder = tmp_path_factory.mktemp("report")
    table = made_up(sets=("first", f"second {HOSTILE}"))
    path = render(evaluated(table), table, folder)
    return path, Page(path.read_text(encoding="utf-8"))


def test_the_page_needs_nothing_else(written: tuple[Path, Page]) -> None:
    _, page = written
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    assert all((image["src"] or "").startswith("data:image/") for image in page.of("img"))
    assert all(re.match(r"#|https://arxiv\.org/", link["href"] or "") for link in page.of("a"))
    assert not re.search(r"url\(|@import", page.text)
    (policy,) = [meta["content"] for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_links_lead_to_sections_that_are_there(written: tuple[Path, Page]) -> None:
    _, page = written
    sections = {f"#{section['id']}" for section in page.of("section")}
    targets = {link["href"] for link in page.of("a")}
    assert targets == sections - {None}


def test_names_are_shown_and_not_obeyed(written: tuple[Path, Page]) -> None:
    _, page = written
    assert not any("onerror" in attributes or attributes.get("src") == "x" for _, attributes in page.tags)
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<script" not in page.text


def test_plots_are_in_the_page_and_beside_it(written: tuple[Path, Page]) -> None:
    path, page = written
    files = {file.name: file.read_bytes() for file in (path.parent / "plots").iterdir()}
    assert set(files) == {"roc.png", "reliability.png", "robustness.png", "scores-1.png", "scores-2.png"}
    inside = {image["src"] for image in page.of("img")}
    for name, data in files.items():
        assert f"data:image/png;base64,{base64.b64encode(data).decode()}" in inside, name
        with Image.open(io.BytesIO(data)) as picture:
            assert min(picture.size) > 200


def test_every_picture_has_words_and_every_column_a_head(written: tuple[Path, Page]) -> None:
    _, page = written
    assert all(image["alt"] for image in page.of("img"))
    assert all(head.get("scope") in ("col", "row", "colgroup") for head in page.of("th"))
    assert page.of("html")[0]["lang"] == "en"


def test_a_flagged_shortcut_is_marked_in_red_and_a_fair_one_is_not(written: tuple[Path, Page]) -> None:
    _, page = written
    assert page.text.count('<span class="mark red">above 0.6</span>') == 1
    assert "the data,\nnot the detector, is being measured" in page.text
    assert re.search(r"bytes per pixel</th>\s*<td class=\"red\">0\.740</td>", page.text)
    assert re.search(r"red</th>\s*<td>0\.520</td>", page.text)


def test_what_was_measured_is_said(written: tuple[Path, Page]) -> None:
    _, page = written
    for words in ("modctl eval --data /data", "c0ffee", "no production", "not found", "sha256 45, threshold 0.5"):
        assert words in page.text, words


def test_mistakes_are_shown_small(written: tuple[Path, Page]) -> None:
    _, page = written
    thumbnails = [image for image in page.of("img") if (image["src"] or "").startswith("data:image/jpeg")]
    assert thumbnails
    for image in thumbnails:
        with Image.open(io.BytesIO(base64.b64decode((image["src"] or "").split(",")[1]))) as picture:
            assert max(picture.size) <= 160
    assert "no preview" in page.text  # of the picture that has gone


def test_without_extras_there_is_no_empty_section(tmp_path: Path) -> None:
    table = made_up(sets=("only",), conditions=("",))
    table = table.select(~table.is_fake)
    evaluation = evaluated(table, robustness=(), shortcuts=(), comparisons=(), provenance={"backbone": "large"})
    page = Page(render(evaluation, table, tmp_path).read_text(encoding="utf-8"))
    ids = {section["id"] for section in page.of("section")}
    assert ids == {"headline", "sets", "curves", "scores", "mistakes", "unreadable", "measured"}
    assert "no production" not in page.text
    assert {file.name for file in (tmp_path / "plots").iterdir()} == {"reliability.png", "scores-1.png", "scores-2.png"}


def test_nothing_scored_is_a_report_too(tmp_path: Path) -> None:
    table = made_up(conditions=("",))
    table = table.select(table.error != "")
    page = Page(render(evaluated(table, robustness=(), comparisons=()), table, tmp_path).read_text(encoding="utf-8"))
    assert "not found" in page.text


def test_the_paper_s_table_stands_beside_the_measured_column(tmp_path: Path) -> None:
    paper = published_table()
    table = made_up(sets=paper.rows[:5], conditions=("",))
    evaluation = evaluated(table, data={"preset": "antifakeprompt"}, missing_sets=paper.rows[5:], robustness=())
    page = Page(render(evaluation, table, tmp_path).read_text(encoding="utf-8"))
    assert "the paper's" in page.text.replace("&#39;", "'")
    assert re.search(r'AVG</th>\s*<td>-</td><td>-</td>\s*<td class="paper">65\.41</td>', page.text)
    assert f"Missing sets:</strong> {', '.join(paper.rows[5:])}" in page.text
    assert (tmp_path / "plots" / "published.png").is_file()


def test_the_same_evaluation_gives_the_same_bytes(written: tuple[Path, Page], tmp_path: Path) -> None:
    path, _ = written
    table = made_up(sets=("first", f"second {HOSTILE}"))
    assert render(evaluated(table), table, tmp_path).read_bytes() == path.read_bytes()


def test_the_surest_mistakes_come_first_and_no_more_than_asked() -> None:
    rows = [ScoreRow("a", "", "", f"/{n}.png", n % 2 == 0, "", "", "", 0.0, n / 100, "", "") for n in range(100)]
    flagged, missed = mistakes(ScoreTable.of(rows), 0.5)
    assert [one.path for one in flagged[:2]] == ["/99.png", "/97.png"]
    assert [one.path for one in missed[:2]] == ["/0.png", "/2.png"]
    assert (len(flagged), len(missed)) == (MOST, MOST)


def test_what_is_no_picture_has_no_thumbnail(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    for name in ("a.png", "missing.png", ".", "nul\0.png"):
        assert thumbnail(tmp_path / name) == "", name


def test_paths_lose_the_folder_they_share() -> None:
    assert common_folder(["/data/a/x.png", "/data/b/y.png"]) == "/data/"
    assert common_folder(["/a.png", "b.png"]) == ""
    assert common_folder(["/a/b.png"]) == ""


def test_a_plot_of_many_sets_and_all_conditions_is_drawn() -> None:
    rng = np.random.default_rng(0)
    sets = {f"$set {number}_^": (rng.random(30) < 0.5, rng.random(30)) for number in range(26)}
    with Image.open(io.BytesIO(charts.histogram_plot(sets, 0.5))) as picture:
        assert picture.size[0] < 1200
    table = made_up(conditions=("", *CONDITIONS))
    with Image.open(io.BytesIO(charts.heat_plot(robustness_table(table, 0.5)))) as picture:
        assert picture.size[1] > 25 * (1 + len(CONDITIONS))


def test_a_tuning_run(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    is_fake = np.arange(80) % 2 == 0
    margins = rng.normal(np.where(is_fake, 1.0, -1.0), 2.0)
    report = TuningReport(
        name=HOSTILE,
        config={"epochs": 2, "init": HOSTILE},
        history=[EpochRow(1, 0.7, 0.69, 0.6, 1e-3, 2.0), EpochRow(2, 0.5)],
        is_fake=is_fake,
        margins=margins,
        probability_before=1 / (1 + np.exp(-margins)),
        probability_after=1 / (1 + np.exp(-margins / 2)),
        best_epoch=1,
        metrics={"auc": 0.81234567, "chosen by": "loss"},
        calibrated_on="validation pictures, cross-fitted",
        facts={"data": "c0ffee"},
        warning="only a miniature",
    )
    page = Page(render_tuning(report, tmp_path).read_text(encoding="utf-8"))
    assert "<script" not in page.text
    for words in ("0.8123", "cross-fitted", "c0ffee", "only a miniature", "epoch 1 was kept"):
        assert words in page.text, words
    assert {file.name for file in (tmp_path / "plots").iterdir()} == {"training.png", "roc.png", "calibration.png"}


def test_a_run_that_saw_no_picture_of_one_class_has_no_roc_but_a_report(tmp_path: Path) -> None:
    nothing = np.zeros(0)
    report = TuningReport("early", {}, [], nothing.astype(bool), nothing, nothing, nothing)
    assert render_tuning(report, tmp_path).is_file()
