"""Charts: what is drawn stands where its number says, and no name breaks out of the markup."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from moderation.domain.agreement import wilson_interval
from moderation.domain.evidence import DrawnImage, Kind, LabelledImage
from moderation.domain.reliability import Bin, reliability
from moderation.domain.review import Trust
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision
from moderation.web.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Mark,
    Series,
    histogram,
    nice_top,
    reliability_diagram,
    short,
    stacked_bars,
)


def heights(chart: str) -> list[float]:
    return [float(found) for found in re.findall(r'<rect[^>]* height="([\d.]+)"', chart)]


def test_bars_stack_to_their_sum() -> None:
    chart = stacked_bars(
        "Days", ["Mon", "Tue"], [Series("allow", "c-allow", [30, 0]), Series("block", "c-block", [10, 40])]
    )
    ElementTree.fromstring(chart)
    full = HEIGHT - TOP - BOTTOM
    assert heights(chart) == pytest.approx([full * 0.75, full * 0.25, full], abs=0.1)


def test_a_histogram_puts_its_marks_at_their_shares() -> None:
    chart = histogram("Scores", [0, 5, 10, 0], [Mark("review from 0.5", "m-review", 0.5)])
    ElementTree.fromstring(chart)
    assert len(heights(chart)) == 2
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    assert f'class="mark m-review" x1="{middle:.1f}"' in chart
    assert heights(histogram("Nothing", [0, 0], [])) == []


def test_a_calibrated_bin_lies_on_the_diagonal() -> None:
    chart = reliability_diagram("Reliability", [Bin(9, 0.25, 0.25, 0.1, 0.5)])
    ElementTree.fromstring(chart)
    found = re.search(r'cx="([\d.]+)" cy="([\d.]+)"', chart)
    assert found is not None
    x, y = float(found[1]), float(found[2])
    assert (x - LEFT) / (WIDTH - LEFT - RIGHT) == pytest.approx(0.25, abs=1e-3)
    assert (HEIGHT - BOTTOM - y) / (HEIGHT - TOP - BOTTOM) == pytest.approx(0.25, abs=1e-3)


def test_names_are_escaped() -> None:
    evil = '"><script>alert(1)</script>'
    for chart in (
        stacked_bars(evil, [evil], [Series(evil, "c-allow", [1])]),
        histogram(evil, [1], [Mark(evil, "m-review", 0.5)]),
        reliability_diagram(evil, []),
    ):
        assert "<script>" not in chart
        ElementTree.fromstring(chart)


@pytest.mark.parametrize(
    ("most", "top"), [(0, 4), (1, 4), (4, 4), (7, 8), (9, 10), (11, 20), (40, 40), (41, 60), (850, 1000), (1e6, 1e6)]
)
def test_axes_end_at_round_numbers(most: float, top: float) -> None:
    assert nice_top(most) == top


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.25, "0.25"), (750, "750"), (1500, "1.5k"), (2e6, "2M")])
def test_large_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text


def labelled(score: float, *, is_fake: bool, chance: float = 1.0) -> LabelledImage:
    image = DrawnImage(ImageId(f"{score}"), "default", score, Kind(Decision.ALLOW, chance), chance)
    return LabelledImage(image, is_fake, Trust.WEAK)


def test_a_bin_weighs_each_image_for_those_it_stands_for() -> None:
    one, other = labelled(0.42, is_fake=True), labelled(0.48, is_fake=False, chance=0.25)
    (found,) = reliability([one, other])
    assert found.images == 2
    assert (found.claimed, found.fake) == pytest.approx((0.468, 0.2))
    assert found.low < 0.2 < found.high
    assert (
        found.high - found.low > wilson_interval(0.2, 2)[1] - wilson_interval(0.2, 2)[0]
    )  # unequal weights tell less than two images


def test_a_probability_of_one_is_in_the_last_bin() -> None:
    found = reliability([labelled(1.0, is_fake=True), labelled(0.0, is_fake=False)])
    assert [each.claimed for each in found] == [0.0, 1.0]
    assert reliability([]) == []


def test_the_interval_of_a_share() -> None:
    """Brown, Cai and DasGupta 2001, formula (4)."""
    assert wilson_interval(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson_interval(0.0, 10)[0] == pytest.approx(0.0)
    assert wilson_interval(1.0, 10)[1] == pytest.approx(1.0)
