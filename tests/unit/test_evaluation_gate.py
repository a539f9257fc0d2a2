"""The gate: what is not proven does not pass, and no name, copy, gap or order of rows makes it look otherwise."""

from __future__ import annotations

import io
import json
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from moderation.cli.shared import print_table
from moderation.evaluation.figure import Figure
from moderation.evaluation.gate import (
    GATE_COLUMNS,
    GATE_FOLD,
    GATE_RIGHT,
    GATE_SPARE,
    GateLine,
    GateResult,
    GateVerdict,
    Judged,
    gate_rows_text,
    judge,
)

MARGIN = 0.01


def scores(margin: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-margin)))


def rows(n: int = 200, seed: int = 1, *, gain: float = 0.0, noise: float = 0.0, **columns: Any) -> Judged:
    """Every other one a fake. gain: how much farther the candidate tells the classes apart; noise: how it differs."""
    rng = np.random.default_rng(seed)
    is_fake = np.arange(n) % 2 == 1
    before = rng.normal(is_fake * 2.0 - 1.0)
    after = before + gain * (is_fake - 0.5) + rng.normal(0, 1, n) * noise
    found = {
        "is_fake": is_fake,
        "before_p": scores(before),
        "before_margin": before,
        "after_p": scores(after),
        "after_margin": after,
        "threshold": np.full(n, 0.5),
        **{name: np.full(n, "", dtype=object) for name in ("group", "source", "generator", "band")},
        "part": np.full(n, "holdout", dtype=object),
    }
    return Judged(**(found | columns))


def said(margin: NDArray[np.float64]) -> dict[str, Any]:
    """The candidate's columns."""
    return {"after_p": scores(margin), "after_margin": margin}


def named(*names: str) -> NDArray[Any]:
    return np.array(names, dtype=object)


def together(*parts: Judged) -> Judged:
    return Judged(
        **{field.name: np.concatenate([getattr(one, field.name) for one in parts]) for field in fields(Judged)}
    )


def judged(given: Judged, *, margin: float = MARGIN, with_replay: bool = False, resamples: int = 200) -> GateResult:
    return judge(given, margin=margin, seed=42, with_replay=with_replay, resamples=resamples)


def line(result: GateResult, name: str = "all", part: str = "holdout") -> GateLine:
    (found,) = (each for each in result.lines if (each.part, each.slice) == (part, name))
    return found


# --- parts


def test_the_same_candidate_is_no_worse_even_without_a_margin() -> None:
    found = judged(rows(), margin=0.0)
    assert found.passed
    assert line(found).auc_difference == line(found).accuracy_difference == Figure(0.0, 0.0, 0.0)
    assert (line(found).verdict, line(found).p_value) == (GateVerdict.NO_WORSE, 1.0)


def test_a_better_candidate_passes_and_says_on_what_it_rests() -> None:
    found = judged(rows(gain=1.0))
    assert found.passed
    assert line(found).verdict is GateVerdict.BETTER
    assert found.reasons[0].startswith("holdout: better on 200 images, AUC +0.")


def test_a_worse_candidate_is_refused() -> None:
    found = judged(rows(600, gain=-1.0))
    assert (found.passed, line(found).verdict) == (False, GateVerdict.WORSE)
    assert found.reasons[0].startswith("holdout: AUC -0.")
    assert found.reasons[0].endswith("; the margin is 0.01.")


def test_what_may_be_worse_is_refused_though_it_looks_equal() -> None:
    found = judged(rows(60, noise=1.0))
    assert (found.passed, line(found).verdict) == (False, GateVerdict.TOO_FEW)
    assert "too few images to rule out a loss of more than 0.01" in found.reasons[0]
    assert judged(rows(60, noise=1.0), margin=0.4).passed


def test_worse_at_today_s_thresholds_is_refused_though_the_ranking_is_the_same() -> None:
    given = rows(400)
    moved = replace(given, **said(given.before_margin + 1.5))  # every picture looks more fake than before
    found = judged(moved)
    assert line(found).auc_difference == Figure(0.0, 0.0, 0.0)
    assert line(found).verdict is GateVerdict.WORSE
    assert found.reasons[0].startswith("holdout: worse at today's thresholds: ")
    assert judged(replace(moved, threshold=np.full(400, scores(np.array(1.5))))).reasons != found.reasons


def test_each_picture_is_judged_at_its_own_threshold() -> None:
    given = rows(100)
    strict = np.where(np.arange(100) < 50, 0.5, 0.999)
    found = line(judged(replace(given, threshold=strict, **said(given.before_margin + 5))))
    right = [(p >= strict) == given.is_fake for p in (given.before_p, scores(given.before_margin + 5))]
    assert (found.only_before, found.only_after) == (
        int((right[0] & ~right[1]).sum()),
        int((right[1] & ~right[0]).sum()),
    )
    rates = [(one[given.is_fake].mean() + one[~given.is_fake].mean()) / 2 for one in right]
    assert [found.accuracy_before, found.accuracy_after] == pytest.approx(rates)


def test_flipped_labels_are_refused_by_the_replay_part() -> None:
    """The poisoner's answers are in the holdout too, so there the candidate that learned them shines."""
    poisoned = rows()
    poisoned = replace(poisoned, is_fake=~poisoned.is_fake, **said(-poisoned.before_margin))
    replay = rows(200, seed=2, part=named(*["replay"] * 200))
    replay = replace(replay, **said(-replay.before_margin))
    found = judged(together(poisoned, replay), with_replay=True)
    assert line(found).verdict is GateVerdict.BETTER
    assert line(found, part="replay").verdict is GateVerdict.WORSE
    assert not found.passed
    assert all(reason.startswith("replay") for reason in found.reasons)


def test_a_part_that_is_missing_refuses() -> None:
    missing = judge(rows(gain=1.0), margin=MARGIN, seed=1, resamples=50)
    assert not missing.passed
    assert missing.reasons == ("replay: there is no image that the active prompt scored, so nothing can be proven.",)
    only_replay = judged(rows(gain=1.0, part=named(*["replay"] * 200)))
    assert not only_replay.passed
    assert only_replay.reasons[0].startswith("holdout: there is no image")


def test_a_replay_part_that_is_there_counts_even_where_none_was_wanted() -> None:
    worse = rows(300, gain=-2.0, part=named(*["replay"] * 300))
    assert not judged(together(rows(gain=1.0), worse), with_replay=False).passed


@pytest.mark.parametrize("kept", ["real", "fake"])
def test_a_part_of_one_class_proves_nothing(kept: str) -> None:
    given = rows(gain=1.0)
    found = judged(given.select(given.is_fake == (kept == "fake")))
    assert (found.passed, line(found).verdict) == (False, GateVerdict.TOO_FEW)
    assert "with fewer than 20 of a class nothing can be proven" in found.reasons[0]


def test_twenty_of_each_class_can_prove_something_and_nineteen_can_not() -> None:
    enough = rows(40, gain=8.0)
    assert judged(enough).passed
    assert not judged(enough.select(np.arange(40) > 0)).passed


# --- near-duplicates


def test_copies_prove_nothing() -> None:
    few = rows(30, gain=8.0, group=named(*(f"picture {at}" for at in range(30))))
    copied = few.select(np.repeat(np.arange(30), 50))
    found = judged(copied)
    assert line(found).n == 1500
    assert (line(found).groups_real, line(found).groups_fake) == (15, 15)
    assert not found.passed


def test_copies_narrow_no_interval_and_are_one_toss_of_the_coin() -> None:
    once = rows(80, noise=1.0, group=named(*(f"picture {at}" for at in range(80))))
    copied = judged(once.select(np.repeat(np.arange(80), 25)))
    assert line(copied).auc_difference == line(judged(once)).auc_difference
    assert line(copied).p_value == line(judged(once)).p_value


def test_many_copies_of_one_success_do_not_outvote_failures() -> None:
    given = rows(200, group=named(*(f"picture {at}" for at in range(200))))
    after = given.before_margin.copy()
    wrong = np.flatnonzero((given.before_p >= 0.5) != given.is_fake)
    right = np.setdiff1d(np.arange(200), wrong)
    after[wrong[0]] *= -1
    after[right[:12]] *= -1
    given = replace(given, **said(after))
    flooded = together(given, given.select(np.repeat(wrong[:1], 300)))
    found = judged(flooded)
    assert (line(found).only_before, line(found).only_after) == (12, 1)
    assert any("worse at today's thresholds: 12 newly wrong, 1 newly right" in each for each in found.reasons)


def test_a_group_id_means_nothing_in_the_other_part() -> None:
    names = named(*(f"{at}" for at in range(100)))
    pair = [rows(100, noise=0.5, group=names, part=named(*[part] * 100)) for part in ("holdout", "replay")]
    apart = [replace(one, group=named(*(f"{one.part[0]} {at}" for at in range(100)))) for one in pair]
    shared, own = (judged(together(*each), with_replay=True) for each in (pair, apart))
    assert [one.groups_real + one.groups_fake for one in shared.lines] == [100, 100]
    assert [(one.n, one.auc_before, one.only_before) for one in shared.lines] == [
        (one.n, one.auc_before, one.only_before) for one in own.lines
    ]


# --- scores that are missing, ties


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 2.0])
def test_where_the_candidate_has_no_score_it_is_wrong(bad: float) -> None:
    given = rows(200, gain=1.0)
    after = given.after_p.copy()
    after[:30] = bad
    found = judged(replace(given, after_p=after))
    assert not found.passed
    assert line(found).failed == 30
    whole, broken = line(judged(given)), line(found)
    assert whole.auc_after is not None
    assert broken.auc_after is not None
    assert broken.auc_after < whole.auc_after - 0.1
    assert broken.n == 200
    was_right = (given.before_p >= 0.5) == given.is_fake
    assert broken.only_before >= was_right[:30].sum() > 20


def test_where_the_active_has_no_score_the_picture_counts_nowhere() -> None:
    given = rows(200, gain=1.0)
    before, after = given.before_margin.copy(), given.after_p.copy()
    before[:10] = np.nan
    after[:5] = np.nan
    found = line(judged(replace(given, before_margin=before, after_p=after)))
    assert (found.n, found.left_out, found.failed) == (190, 10, 0)
    assert found == replace(line(judged(given.select(np.arange(200) >= 10))), left_out=10)


def test_a_candidate_that_scores_nothing_or_says_the_same_of_all_is_refused() -> None:
    given = rows(200)
    silent = replace(given, after_p=np.full(200, np.nan), after_margin=np.full(200, np.nan))
    assert line(judged(silent)).auc_after == 0.0
    for candidate in (silent, replace(given, **said(np.zeros(200)))):
        assert line(judged(candidate)).verdict is GateVerdict.WORSE
    tied = line(judged(replace(given, **said(np.zeros(200)))))
    assert tied.auc_after == 0.5


def test_equal_probabilities_are_told_apart_by_their_margins() -> None:
    given = rows(100)
    found = line(judged(replace(given, after_p=np.where(given.before_p >= 0.5, 1.0, 0.0))))
    assert found.auc_difference == Figure(0.0, 0.0, 0.0)


# --- slices


def sliced(hurt: str, n: int = 800) -> Judged:
    """Four sources, much better on the whole; on the source `hurt` the candidate is turned round."""
    given = rows(n, gain=4.0, source=named(*(f"source {at // 2 % 4}" for at in range(n))))
    after = np.where(given.source == hurt, -given.before_margin, given.after_margin)
    return replace(given, **said(after))


def test_a_slice_that_is_worse_refuses_though_the_whole_is_better() -> None:
    given = rows(800, gain=4.0, source=named(*(f"source {int(at % 16 < 2)}" for at in range(800))))
    given = replace(given, **said(np.where(given.source == "source 1", -given.before_margin, given.after_margin)))
    found = judged(given)
    assert line(found).verdict is GateVerdict.NO_WORSE or line(found).verdict is GateVerdict.BETTER
    assert line(found, "source=source 1").verdict is GateVerdict.WORSE
    assert not found.passed
    assert [reason.split(":")[0] for reason in found.reasons] == ["holdout, source=source 1"]


def test_a_slice_that_is_flagged_too_often_refuses_though_its_ranking_is_the_same() -> None:
    given = rows(800, gain=2.0, source=named(*("web" if at % 16 < 2 else "app" for at in range(800))))
    moved = np.where(given.source == "web", given.before_margin + 2, given.after_margin)
    found = judged(replace(given, **said(moved)))
    assert line(found, "source=web").auc_difference == Figure(0.0, 0.0, 0.0)
    assert line(found, "source=web").verdict is GateVerdict.WORSE
    assert "accuracy at today's thresholds -" in found.reasons[-1]


def test_a_slice_of_one_class_is_judged_by_its_accuracy() -> None:
    given = rows(800, gain=2.0)
    source = np.where(~given.is_fake & (np.arange(800) < 160), "agency", "web").astype(object)
    moved = np.where(source == "agency", given.before_margin + 2, given.after_margin)
    found = judged(replace(given, source=source, **said(moved)))
    agency = line(found, "source=agency")
    assert (agency.n, agency.n_fake, agency.auc_difference) == (80, 0, None)
    assert agency.accuracy_difference is not None
    assert agency.accuracy_difference.value < -0.2
    assert agency.verdict is GateVerdict.WORSE
    one_fake = source.copy()
    one_fake[1] = "agency"  # one fake more is nothing to rank against
    agency = line(judged(replace(given, source=one_fake, **said(moved))), "source=agency")
    assert (agency.n, agency.auc_difference, agency.verdict) == (81, None, GateVerdict.WORSE)


def test_a_small_slice_says_so_and_never_refuses() -> None:
    given = rows(800, gain=2.0, source=named(*("tiny" if at < 19 else "web" for at in range(800))))
    found = judged(replace(given, **said(np.where(given.source == "tiny", -given.before_margin, given.after_margin))))
    assert line(found, "source=tiny").verdict is GateVerdict.TOO_FEW
    assert found.passed


def test_a_slice_may_lose_a_point_beyond_its_interval() -> None:
    given = rows(3000, gain=-0.06, source=named(*["web", "web", "app", "app"] * 750), threshold=np.full(3000, 2.0))
    found = judged(given, margin=0.05)
    web = line(found, "source=web").auc_difference
    assert web is not None
    assert web.high is not None
    assert -0.01 < web.high < 0
    assert found.passed
    assert not judged(given, margin=0.0).passed


def test_a_generator_is_its_fakes_against_every_real_picture() -> None:
    given = rows(400, gain=2.0)
    names = np.where(given.is_fake, np.where(np.arange(400) < 100, "new", "old"), "ignored on real ones").astype(object)
    moved = np.where(names == "new", -6.0, given.after_margin)
    found = judged(replace(given, generator=names, **said(moved)))
    assert {each.slice for each in found.lines} == {"all", "generator=new", "generator=old"}
    new = line(found, "generator=new")
    assert [row[2] for row in gate_rows_text(found) if row[1] == "generator=new"] == ["50"]
    assert (new.n, new.n_fake, new.verdict) == (250, 50, GateVerdict.WORSE)
    few = np.where(names == "new", np.where(np.arange(400) < 38, "new", "old"), names)
    tiny = judged(replace(given, generator=few, **said(np.where(few == "new", -6.0, given.after_margin))))
    assert line(tiny, "generator=new").verdict is GateVerdict.TOO_FEW  # 19 fakes, though there are 200 real ones


def test_spelling_hides_no_slice() -> None:
    given = sliced("source 1")
    spellings = ("source 1", " Source\t1", "so\u200burce 1")
    spelled = [spellings[at % 3] if name == "source 1" else name for at, name in enumerate(given.source)]
    assert judged(replace(given, source=named(*spelled))).reasons == judged(given).reasons


def test_many_small_names_hide_no_slice() -> None:
    given = sliced("source 1")
    split = [f"{name} {at // 40}" if name == "source 1" else name for at, name in enumerate(given.source)]
    found = judged(replace(given, source=named(*split)))
    small = [each for each in found.lines if each.slice.startswith("source=source 1 ")]
    assert len(small) == 20
    assert {each.verdict for each in small} == {GateVerdict.TOO_FEW}
    together_ = line(found, "source=(all small ones)")
    assert (together_.n, together_.verdict) == (200, GateVerdict.WORSE)


def test_pictures_without_a_name_are_a_slice_too() -> None:
    given = sliced("source 1")
    found = judged(replace(given, source=np.where(given.source == "source 1", "", given.source)))
    assert line(found, "source=(unknown)").verdict is GateVerdict.WORSE
    assert [each.slice for each in judged(rows()).lines] == ["all"]  # where nothing is known there is no slice


# --- the same again, kept and shown


def test_neither_the_order_of_rows_nor_a_second_time_changes_anything() -> None:
    given = replace(sliced("source 1"), group=named(*(f"{at // 3}" for at in range(800))))
    mixed = given.select(np.random.default_rng(0).permutation(800))
    assert judged(given) == judged(given) == judged(mixed)
    assert judge(given, margin=MARGIN, seed=43, with_replay=False, resamples=200) != judged(given)


def test_a_result_comes_back_from_json_as_it_was() -> None:
    for given in (sliced("source 1"), rows(10), rows(0)):
        found = judged(given, with_replay=True)
        stored = json.dumps(found.to_json(), allow_nan=False)
        assert GateResult.from_json(json.loads(stored)) == found
        assert GateResult.from_json(found.to_json()) == found


def test_the_table_fits_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(width=80, file=io.StringIO())
    monkeypatch.setattr("moderation.cli.shared.console", lambda: screen)
    hurt = sliced("source 1")
    found = judged(replace(hurt, generator=named(*["stable-diffusion-xl-turbo"] * 800)), with_replay=True)
    print_table(GATE_COLUMNS, gate_rows_text(found), right=GATE_RIGHT, fold=GATE_FOLD, spare=GATE_SPARE)
    assert isinstance(screen.file, io.StringIO)
    shown = screen.file.getvalue().splitlines()
    assert max(map(len, shown)) <= 80
    assert [each for each in shown if "source=" in each and each.rstrip().endswith("worse")]
    assert not any("…" in each for each in shown)


def test_names_obey_no_terminal() -> None:
    found = judged(replace(sliced("source 1"), source=named(*["a\x1b[2J\nb", "c"] * 400)))
    assert {each.slice for each in found.lines} == {"all", "source=a[2j b", "source=c"}


@pytest.mark.parametrize("margin", [-0.1, float("nan"), float("inf"), 2.0])
def test_a_margin_is_a_share(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        judged(rows(), margin=margin)


def test_rows_that_fit_no_part_or_no_length_are_refused() -> None:
    with pytest.raises(ValueError, match="no such part: 'train'"):
        rows(2, part=named("train", "holdout"))
    with pytest.raises(ValueError, match="unequal"):
        rows(2, group=named("a"))
    with pytest.raises(ValueError, match="threshold"):
        rows(2, threshold=np.array([0.5, np.nan]))
