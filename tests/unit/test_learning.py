"""What a retraining learns from: a split that stays as it was drawn, caps, rehearsal, and fingerprints."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from moderation.domain.learning import HARD_WEIGHT, Arranged, Asked, arrange
from moderation.domain.lesson import Lesson, Origin, Side, lessons_sha256, pack, unpack
from moderation.domain.rehearsal import LEAST, MOST_JUDGED, balanced, files, rehearse
from moderation.domain.review import Trust
from moderation.domain.reviewed import LeftOut, Reviewed
from moderation.domain.split import split
from moderation.domain.submission import ImageId
from moderation.images.fingerprint import NEAR_BITS, hamming, near_groups, pdq

ASKED = Asked(include_weak=False, per_source=2000, per_uploader=20, holdout_share=0.3, min_labels=50)
STEP = 10  # bits between neighbours: those up to three steps apart are near


def at(place: int) -> str:
    """A hash on a line: `at(a)` and `at(b)` differ in STEP * |a - b| bits."""
    return f"{(1 << STEP * place) - 1:064x}"


def image(name: str, *, is_fake: bool | None = True, **facts: Any) -> Reviewed:
    found: dict[str, Any] = {
        "source": "web", "uploader": "", "sha256": f"hash of {name}", "pdq": "", "width": 640, "height": 480,
        "trust": Trust.TRUSTED, "reason": "unsure", "probability": 0.5,
    }  # fmt: skip
    return Reviewed(image_id=ImageId(name), is_fake=is_fake, **found | facts)


def many(count: int, prefix: str = "p", **facts: Any) -> list[Reviewed]:
    return [image(f"{prefix}{number:04}", **facts) for number in range(count)]


def sides(arranged: Arranged) -> dict[str, Side]:
    return {lesson.name: lesson.side for lesson in arranged.lessons}


def frozen(side: Side) -> Side:
    """What is stored of a side: what validates has been drawn from what trains."""
    return Side.TRAIN if side is Side.VAL else side


def after(known: Mapping[ImageId, Side], arranged: Arranged) -> dict[ImageId, Side]:
    assert not known.keys() & arranged.sides.keys(), "a stored side would be drawn again"
    return {**known, **arranged.sides}


@st.composite
def platforms(draw: st.DrawFn) -> list[list[Reviewed]]:
    """Images as they come, a batch a retraining; near ones, equal ones and such as change their place among them."""
    count = draw(st.integers(1, 24))
    images = [
        image(
            f"i{number}",
            is_fake=draw(st.sampled_from([True, False, None])),
            pdq=draw(st.sampled_from(["", *map(at, range(25))])),
            sha256=f"{draw(st.integers(0, 40)):02}",
            source=draw(st.sampled_from("ab")),
            trust=draw(st.sampled_from([Trust.TRUSTED, Trust.TRUSTED, Trust.WEAK])),
        )
        for number in range(count)
    ]
    cuts = sorted(draw(st.sets(st.integers(1, count), max_size=3)) | {count})
    batches, seen = [], 0
    for cut in cuts:
        here = images[:seen]
        if draw(st.booleans()) and here:  # one of the old shows another picture now
            place = draw(st.integers(0, seen - 1))
            images[place] = replace(images[place], pdq=at(draw(st.integers(0, 24))), sha256=f"new {place}")
        batches.append(images[:cut])
        seen = cut
    return batches


@settings(max_examples=300, deadline=None)
@given(platforms(), st.randoms(use_true_random=False))
def test_a_side_is_for_ever_the_holdout_only_grows_and_no_near_duplicates_stand_apart(
    batches: list[list[Reviewed]], chance: random.Random
) -> None:
    known: dict[ImageId, Side] = {}
    for batch in batches:
        asked = replace(ASKED, include_weak=chance.random() < 0.5)
        shuffled = chance.sample(batch, len(batch))
        arranged = arrange(shuffled, known, asked, near_groups)
        assert arranged == arrange(batch, known, asked, near_groups), "the order in which they come makes no difference"
        before, known = known, after(known, arranged)
        assert before.items() <= known.items()
        assert all(frozen(lesson.side) is known[ImageId(lesson.name)] for lesson in arranged.lessons)
        assert len(arranged.lessons) + sum(arranged.left_out.values()) == len(batch)
        _check_groups(batch, arranged.lessons)


def _check_groups(batch: Sequence[Reviewed], lessons: Sequence[Lesson]) -> None:
    """No two lessons that are near, or one through others that are lessons, stand on two sides or in two groups."""
    facts = {one.image_id: one for one in batch}
    taught = [(facts[ImageId(lesson.name)], lesson) for lesson in lessons]
    for one, lesson in taught:
        for other, its in taught:
            near = one.pdq and other.pdq and hamming(one.pdq, other.pdq) <= NEAR_BITS
            if near or one.sha256 == other.sha256:
                assert (lesson.side, lesson.group) == (its.side, its.group), (one, other)


@given(st.integers(0, 10_000), st.integers(1, 40))
def test_a_new_picture_alone_stands_where_its_hash_says_whoever_else_is_there(seed: int, others: int) -> None:
    one = image(f"picture {seed}")
    alone = arrange([one], {}, ASKED, near_groups).sides[one.image_id]
    among = arrange([*many(others), one], {}, ASKED, near_groups).sides[one.image_id]
    assert alone is among


def test_the_same_bytes_stand_on_the_same_side_under_any_id() -> None:
    for sha256 in map(str, range(20)):
        drawn = {
            arrange([image(name, sha256=sha256)], {}, ASKED, near_groups).sides[ImageId(name)] for name in "abcdefgh"
        }
        assert len(drawn) == 1


def test_about_the_share_that_was_asked_for_is_held_out_and_a_fifth_of_the_rest_validates() -> None:
    arranged = arrange([*many(1000), *many(1000, "q", is_fake=False)], {}, ASKED, near_groups)
    count = Counter(sides(arranged).values())
    assert count[Side.HOLDOUT] / 2000 == pytest.approx(0.3, abs=0.03)
    assert count[Side.VAL] == pytest.approx(0.2 * (2000 - count[Side.HOLDOUT]), abs=1)
    classes = Counter((lesson.side, lesson.is_fake) for lesson in arranged.lessons)
    assert classes[Side.VAL, True] == pytest.approx(classes[Side.VAL, False], rel=0.2)


def test_another_seed_validates_on_others_but_holds_out_the_same() -> None:
    images = many(300)
    one, two = (arrange(images, {}, replace(ASKED, seed=seed), near_groups) for seed in (1, 2))
    assert {name for name, side in sides(one).items() if side is Side.HOLDOUT} == {
        name for name, side in sides(two).items() if side is Side.HOLDOUT
    }
    assert sides(one) != sides(two)


def test_a_newcomer_goes_where_its_near_duplicate_is() -> None:
    for side in (Side.TRAIN, Side.HOLDOUT):
        known = {ImageId("old"): side}
        new = [image(f"new{number}", pdq=at(2)) for number in range(10)]
        placed = split([image("old", pdq=at(0)), *new], known, 0.5, near_groups)
        assert set(placed.side.values()) == {side}


def test_what_is_near_to_both_halves_goes_to_neither_and_leaves_them_as_they_were() -> None:
    known = {ImageId("taught"): Side.TRAIN, ImageId("held"): Side.HOLDOUT}
    images = [image("taught", pdq=at(0)), image("held", pdq=at(6)), image("between", pdq=at(3))]
    arranged = arrange(images, known, ASKED, near_groups)
    assert {name: frozen(side) for name, side in sides(arranged).items()} == dict(known)
    assert arranged.left_out == {LeftOut.BRIDGE: 1}
    assert not arranged.sides
    groups = {lesson.group for lesson in arranged.lessons}
    assert len(groups) == 2


def test_a_training_picture_that_became_a_copy_of_a_held_out_one_trains_no_more() -> None:
    known = {ImageId("taught"): Side.TRAIN, ImageId("held"): Side.HOLDOUT}
    arranged = arrange([image("taught", pdq=at(1)), image("held", pdq=at(0))], known, ASKED, near_groups)
    assert sides(arranged) == {"held": Side.HOLDOUT}
    assert arranged.left_out == {LeftOut.LEAK: 1}


def test_what_must_not_teach_still_keeps_its_near_duplicates_on_one_side() -> None:
    """`a` is near to the disputed one alone, and that one to `b`."""
    middle = image("middle", pdq=at(3), is_fake=None, trust=Trust.DISPUTED)
    for sha256 in map(str, range(20)):
        images = [image("a", pdq=at(0), sha256=sha256), middle, image("b", pdq=at(6), source="app")]
        arranged = arrange(images, {}, ASKED, near_groups)
        assert len({frozen(side) for side in sides(arranged).values()}) == 1


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"trust": Trust.WEAK}, LeftOut.WEAK),
        ({"trust": Trust.DISPUTED, "is_fake": None}, LeftOut.DISPUTED),
        ({"trust": Trust.NONE, "is_fake": None}, LeftOut.NO_LABEL),
        ({"barred": LeftOut.GOLD}, LeftOut.GOLD),
        ({"barred": LeftOut.CHANGED, "is_fake": None, "trust": Trust.NONE}, LeftOut.CHANGED),
        ({"barred": LeftOut.FAILED}, LeftOut.FAILED),
    ],
)
def test_what_is_in_doubt_is_left_out_with_its_reason(facts: dict[str, Any], why: LeftOut) -> None:
    arranged = arrange([image("a", **facts), image("b")], {}, ASKED, near_groups)
    assert list(sides(arranged)) == ["b"]
    assert arranged.left_out == {why: 1}
    assert list(arranged.sides) == ["b"], "what does not teach is not placed"


def test_weak_labels_teach_on_demand_and_disputed_ones_never() -> None:
    images = [image("weak", trust=Trust.WEAK), image("disputed", trust=Trust.DISPUTED, is_fake=None)]
    arranged = arrange(images, {}, replace(ASKED, include_weak=True), near_groups)
    assert list(sides(arranged)) == ["weak"]
    assert arranged.lessons[0].trust == "weak"


def test_bytes_that_are_called_both_do_not_teach_and_copies_count_once() -> None:
    both = [image("a", sha256="x"), image("b", sha256="x", is_fake=False)]
    copies = [image(name, sha256="y") for name in "cde"]
    known = {ImageId("d"): Side.HOLDOUT}
    arranged = arrange([*both, *copies], known, ASKED, near_groups)
    assert sides(arranged) == {"d": Side.HOLDOUT}, "the one that stands in the split already"
    assert arranged.left_out == {LeftOut.CONFLICT: 2, LeftOut.COPY: 2}


def test_a_photograph_and_its_fake_may_look_alike_and_both_teach() -> None:
    arranged = arrange([image("real", pdq=at(0), is_fake=False), image("fake", pdq=at(1))], {}, ASKED, near_groups)
    assert len(arranged.lessons) == 2
    assert len(set(sides(arranged).values())) == 1


def test_no_uploader_and_no_source_teaches_more_than_its_share() -> None:
    asked = replace(ASKED, per_uploader=5, per_source=50)
    campaign = many(100, "campaign", uploader="mallory")
    others = many(200, "crowd")  # nobody knows who uploaded them
    mild = many(30, "real", is_fake=False, uploader="mallory")
    arranged = arrange([*campaign, *others, *mild], {}, asked, near_groups)
    taught = [lesson.name for lesson in arranged.lessons if lesson.side is not Side.HOLDOUT]
    count = Counter(name.rstrip("0123456789") for name in taught)
    assert count["campaign"] <= 5
    assert count["real"] == 5, "the cap is for each class"
    assert count["campaign"] + count["crowd"] == 50
    held = Counter(lesson.name[:3] for lesson in arranged.lessons if lesson.side is Side.HOLDOUT)
    assert held["cam"] == 5, "an uploader judges no more than it teaches"
    assert held["cro"] > 40, "a source's holdout is not capped"
    assert len(arranged.lessons) + sum(arranged.left_out.values()) == 330
    again = arrange([*campaign, *others, *mild, *many(40, "late")], {}, asked, near_groups)
    stayed = {lesson.name for lesson in again.lessons} & set(taught)
    assert len(stayed) > 0.7 * len(taught), "the same ones stay while others come"


def test_weak_labels_may_teach_but_never_judge() -> None:
    images = [*many(100, "sure"), *(replace(one, trust=Trust.WEAK) for one in many(100, "weak"))]
    arranged = arrange(images, {}, replace(ASKED, include_weak=True), near_groups)
    held = {lesson.trust for lesson in arranged.lessons if lesson.side is Side.HOLDOUT}
    taught = {lesson.trust for lesson in arranged.lessons if lesson.side is not Side.HOLDOUT}
    assert (held, taught) == ({"trusted"}, {"trusted", "weak"})
    assert arranged.left_out == {LeftOut.WEAK_JUDGE.value: 200 - len(arranged.lessons)}


def test_where_a_sure_machine_was_wrong_counts_double() -> None:
    surely = [
        image("missed", probability=0.05), image("blamed", is_fake=False, probability=0.95),
        image("right", probability=0.95), image("unsure", probability=0.4), image("unscored", probability=None),
    ]  # fmt: skip
    known = {one.image_id: Side.TRAIN for one in surely} | {ImageId("held"): Side.HOLDOUT}
    arranged = arrange([*surely, image("held", probability=0.0)], known, ASKED, near_groups)
    heavy = {lesson.name for lesson in arranged.lessons if lesson.weight == HARD_WEIGHT}
    assert heavy == {"missed", "blamed"}


def test_one_source_alone_may_be_asked_for_but_its_near_duplicates_elsewhere_still_count() -> None:
    known = {ImageId("elsewhere"): Side.HOLDOUT, ImageId("app"): Side.TRAIN}
    images = [image("elsewhere", source="app", pdq=at(0)), image("here", pdq=at(1)), image("app", source="app")]
    arranged = arrange(images, known, replace(ASKED, source="web"), near_groups)
    assert sides(arranged) == {"elsewhere": Side.HOLDOUT, "here": Side.HOLDOUT}
    assert not arranged.left_out


def test_one_source_alone_teaches_but_what_is_held_out_of_the_others_judges_too() -> None:
    images = [*many(200, "web"), *many(200, "app", source="app"), image("weak", source="app", trust=Trust.WEAK)]
    everything = arrange(images, {}, ASKED, near_groups)
    alone = arrange(images, {}, replace(ASKED, source="web"), near_groups)
    held = {name for name, side in sides(everything).items() if side is Side.HOLDOUT}
    assert {name for name, side in sides(alone).items() if side is Side.HOLDOUT} == held
    assert any(name.startswith("app") for name in held)
    assert not any(name.startswith("app") for name, side in sides(alone).items() if side is not Side.HOLDOUT)
    assert {name for name in alone.sides if name.startswith("app")} <= held, "no other side is stored"
    assert not alone.left_out, "what others lack is no loss of this source's"


@pytest.mark.parametrize(("width", "height", "band"), [
    (255, 4000, "small"), (256, 256, "medium"), (1023, 2000, "medium"), (1024, 1024, "large"),
])  # fmt: skip
def test_the_size_class_goes_by_the_shorter_side(width: int, height: int, band: str) -> None:
    assert arrange([image("a", width=width, height=height)], {}, ASKED, near_groups).lessons[0].band == band


def test_lessons_come_back_from_their_packing_and_know_each_other() -> None:
    lessons = arrange([*many(20), image('odd,"name"\n', source="wéb")], {}, ASKED, near_groups).lessons
    assert unpack(pack(lessons)) == list(lessons)
    assert lessons_sha256(lessons) == lessons_sha256(reversed(lessons))
    assert lessons_sha256(lessons) != lessons_sha256(lessons[1:])


# Rehearsal


def file(name: str, *, is_fake: bool = True, side: Side = Side.TRAIN, **facts: Any) -> Lesson:
    return Lesson(Origin.FILE, name, is_fake, side, **{"generator": "sd" if is_fake else "none"} | facts)


def pool(count: int, side: Side = Side.TRAIN, prefix: str = "") -> list[Lesson]:
    """As many real ones as fake ones; of the fakes nine in ten by one generator. Pairs share a group."""
    return [
        file(
            f"{prefix}{side}{number:05}{is_fake}", is_fake=is_fake, side=side, group=f"{prefix}{side}{number}",
            generator="none" if not is_fake else "rare" if number % 10 == 0 else "sd",
        )
        for number in range(count // 2) for is_fake in (False, True)
    ]  # fmt: skip


def test_as_many_are_rehearsed_as_people_reviewed_and_both_classes_alike() -> None:
    replayed = rehearse([*pool(4000), *pool(600, Side.VAL)], 1000, seed=1)
    count = Counter((frozen(lesson.side), lesson.is_fake) for lesson in replayed)
    assert count == {
        (Side.TRAIN, False): 500, (Side.TRAIN, True): 500, (Side.HOLDOUT, False): 300, (Side.HOLDOUT, True): 300,
    }  # fmt: skip
    made_by = Counter(lesson.generator for lesson in replayed if lesson.side is not Side.HOLDOUT and lesson.is_fake)
    assert made_by == {"rare": 200, "sd": 300}, "all that the rare one has, as its share would be 250"
    validating = [lesson for lesson in replayed if lesson.side is Side.VAL]
    assert len(validating) == pytest.approx(200, rel=0.25)
    assert not _groups(validating) & _groups(lesson for lesson in replayed if lesson.side is Side.TRAIN)


def _groups(lessons: Iterable[Lesson]) -> set[str]:
    return {lesson.group for lesson in lessons}


def test_few_reviews_still_rehearse_enough_and_many_judges_are_cut() -> None:
    replayed = rehearse([*pool(4000), *pool(4000, Side.HOLDOUT)], 10, seed=1)
    count = Counter(frozen(lesson.side) for lesson in replayed)
    assert count == {Side.TRAIN: LEAST, Side.HOLDOUT: MOST_JUDGED}


def test_judges_are_the_same_for_every_seed_and_never_come_from_what_trained() -> None:
    known = [*pool(1000), *pool(1200, Side.VAL), *pool(1200, Side.HOLDOUT)]
    one, two = rehearse(known, 100, seed=1), rehearse(reversed_(known), 100, seed=2)
    assert _judges(one) == _judges(two)
    assert not _judges(one) & {lesson.name for lesson in known if lesson.side is Side.TRAIN}
    assert {lesson.name for lesson in one} != {lesson.name for lesson in two}
    assert one == rehearse(reversed_(known), 100, seed=1)


def _judges(lessons: Iterable[Lesson]) -> set[str]:
    return {lesson.name for lesson in lessons if lesson.side is Side.HOLDOUT}


def reversed_(lessons: Sequence[Lesson]) -> list[Lesson]:
    return list(reversed(lessons))


def test_a_pool_that_kept_nothing_aside_gives_up_a_fifth_of_its_groups_for_good() -> None:
    known = pool(1000)
    one, two = rehearse(known, 400, seed=1), rehearse(known, 400, seed=2)
    assert _judges(one) == _judges(two)
    assert len(_judges(one)) == 200
    assert not _groups(lesson for lesson in one if lesson.side is Side.HOLDOUT) & _groups(
        lesson for lesson in one if lesson.side is not Side.HOLDOUT
    )


def test_a_retrained_prompt_rehearses_what_its_first_ancestor_was_tuned_on() -> None:
    """What was replayed validates in one run and trained in another: it must never come to judge."""
    replayed = rehearse([*pool(400), *pool(100, Side.VAL)], 400, seed=1)
    learned = Lesson(Origin.REVIEWED, "a", True, Side.TRAIN)
    assert files([learned]) == ([], True)
    own, is_own = files([learned, *pool(10)])
    assert (len(own), is_own) == (10, True)
    found, is_own = files([learned, *replayed])
    assert not is_own
    assert _judges(found) == _judges(replayed)
    assert {lesson.side for lesson in found} == {Side.TRAIN, Side.HOLDOUT}


def test_a_class_that_lacks_pictures_is_not_made_up_for_by_the_other() -> None:
    lessons = [*(file(f"r{number}", is_fake=False) for number in range(100)), *(file(f"f{n}") for n in range(5))]
    assert Counter(lesson.is_fake for lesson in balanced(lessons, 50, "k")) == {False: 25, True: 5}


# Fingerprints


def texture(seed: int, size: int = 256) -> Image.Image:
    numbers = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(numbers).resize((size, size), Image.Resampling.BICUBIC)


def test_a_smaller_or_recompressed_picture_is_near_and_another_is_not() -> None:
    import io

    picture = texture(1, 1600)
    stream = io.BytesIO()
    picture.resize((300, 300)).save(stream, "JPEG", quality=60)
    assert hamming(pdq(picture), pdq(Image.open(stream).convert("RGB"))) <= NEAR_BITS
    assert hamming(pdq(picture), pdq(texture(2, 1600))) > 3 * NEAR_BITS
    assert len(pdq(picture)) == 64


@pytest.mark.parametrize("size", [(16, 16), (300, 200), (16, 5000)])
def test_a_flat_picture_has_no_fingerprint(size: tuple[int, int]) -> None:
    assert pdq(Image.new("RGB", size, "teal")) == ""


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["", *map(at, range(0, 25, 2))]), max_size=30))
def test_groups_are_what_joining_near_pairs_one_by_one_gives(hashes: list[str]) -> None:
    expected = list(range(len(hashes)))
    for _ in hashes:  # long enough for the longest chain
        for one, first in enumerate(hashes):
            for other, second in enumerate(hashes):
                if first and second and hamming(first, second) <= NEAR_BITS:
                    expected[one] = min(expected[one], expected[other])
    assert near_groups(hashes) == expected


def test_a_campaign_of_thousands_of_variants_is_one_group() -> None:
    """More than a block has rows and columns."""
    chance = random.Random(0)
    base = chance.getrandbits(256)
    variants = [base ^ sum(1 << bit for bit in chance.sample(range(256), 15)) for _ in range(4500)]
    hashes = [f"{code:064x}" for code in (*variants, *(chance.getrandbits(256) for _ in range(500)))]
    chance.shuffle(hashes)
    found = Counter(near_groups(hashes))
    assert sorted(found.values()) == [*[1] * 500, 4500]
