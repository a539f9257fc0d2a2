"""Lessons from a real platform: images scanned, reviewed at desks, and gathered with what the prompt was tuned on."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import update

from moderation import miniature
from moderation.detector import SoftPrompt
from moderation.domain.claim import Rejected, Scored
from moderation.domain.image import ImageFacts
from moderation.domain.lesson import Lesson, Origin, Side, pack, unpack
from moderation.domain.prompt import PromptRecord
from moderation.domain.review import Answer, Reason, Role, Said
from moderation.domain.reviewed import LeftOut
from moderation.domain.sampling import Drawn
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Decision
from moderation.errors import ConfigurationError, RejectReason
from moderation.flows.registry.install import install
from moderation.flows.retraining.lessons import Asked, Curriculum, counts, file_of, gather
from moderation.flows.tuning.manifest import lessons_in
from moderation.storage.events import By, Events
from moderation.storage.registry.manifests import fill_manifest
from moderation.storage.registry.prompts import Prompts
from moderation.storage.reviewing.gold import Gold
from moderation.storage.reviewing.reviewers import Reviewers
from moderation.storage.tables import PromptRow
from moderation.storage.training.holdout import Holdout, add_sides
from moderation.storage.training.labels import Labels
from tests.command import ok
from tests.moderated import answer, desk
from tests.store import Store, empty, open_database

FEW = Asked(include_weak=False, per_source=100, per_uploader=100, holdout_share=0.3, min_labels=2, replay=False)
BY = By("eve", "for the test")
REAL, FAKE, UNSURE = Answer.REAL, Answer.FAKE, Answer.UNSURE


def scan(store: Store, *names: str, p: float = 0.6, uploader: str = "", source: str = "web", **facts: Any) -> None:
    """Submits these images and scores them as a worker would; people are asked about each."""
    named = [ImageId(name) for name in names]
    store.submissions.add(named, source=source, priority=0, force=True, uploader=uploader)
    outcomes = []
    claim = store.take(*names, limit=len(names))
    for image in claim.images:
        seen = ImageFacts(hashlib.sha256(image.image_id.encode()).hexdigest(), 640, 480, "JPEG", 9)
        drawn = Drawn(Reason.UNSURE, 1.0, 0.0)
        outcomes.append(Scored(image, replace(seen, **facts), 0.0, p, Decision.REVIEW, store.policy_id, 5.0, drawn))
    assert store.claims.settle(claim, outcomes, store.by) == []


def say(store: Store, answers: dict[str, Answer], *reviewers: str) -> None:
    """These people answer, each at a desk where second looks are drawn for all."""
    first, *others = reviewers or ("ann", "bob")
    at = replace(desk(store, first), second_look_rate=1.0)
    for name, said in answers.items():
        task = at.take(ImageId(name))
        assert task is not None, name
        at.answer(task, Said(said))
    for reviewer in others:
        answer(store, answers, reviewer=reviewer)


def learn(store: Store, asked: Asked = FEW) -> Curriculum:
    return gather(Labels(store.database), Holdout(store.database), store.prompts, parent(store), asked)


def parent(store: Store) -> PromptRecord:
    found = store.prompts.active("tiny")
    assert found is not None
    return found


def keep(store: Store, curriculum: Curriculum) -> int:
    """What a run stores when it begins."""
    with store.database.write() as session:
        return add_sides(store.database, session, curriculum.sides)


def lessons(curriculum: Curriculum) -> dict[str, Lesson]:
    return {lesson.name: lesson for lesson in curriculum.lessons}


def test_two_people_who_agree_make_a_lesson_with_all_that_is_known_of_it(store: Store) -> None:
    scan(store, "a.jpg", p=0.02, uploader="u7", source="app", pdq="0f" * 32, width=200)
    scan(store, "b.jpg", p=0.9)
    say(store, {"a.jpg": FAKE, "b.jpg": REAL})
    found = lessons(learn(store))
    assert found.keys() == {"a.jpg", "b.jpg"}
    one = found["a.jpg"]
    sha256 = hashlib.sha256(b"a.jpg").hexdigest()
    assert (one.origin, one.is_fake, one.source, one.sha256, one.group) == (
        Origin.REVIEWED, True, "app", sha256, sha256,
    )  # fmt: skip
    assert (one.reason, one.trust, one.band) == ("unsure", "trusted", "small")
    assert one.weight == (1.0 if one.side is Side.HOLDOUT else 2.0), "the machine was sure, and people disagreed"


def test_labels_are_what_the_house_makes_of_all_reviews(store: Store) -> None:
    Reviewers(store.database).save("tess", Role.SENIOR, is_trusted=True, token_sha256="t", by=BY)
    scan(store, "agreed", "weak", "disputed", "unsure", "trusted", "nobody", "undone")
    say(store, {"agreed": FAKE}, "ann", "bob")
    say(store, {"weak": FAKE, "unsure": UNSURE}, "ann")
    say(store, {"trusted": REAL}, "tess")
    say(store, {"disputed": FAKE}, "ann")
    say(store, {"disputed": REAL}, "bob")
    say(store, {"undone": FAKE}, "ann")
    desk(store, "ann").undo()
    found = learn(store)
    assert lessons(found).keys() == {"agreed", "trusted"}
    assert not lessons(found)["trusted"].is_fake
    assert found.left_out == {LeftOut.WEAK: 1, LeftOut.DISPUTED: 1, LeftOut.NO_LABEL: 2}
    with_weak = lessons(learn(store, replace(FEW, include_weak=True)))
    assert with_weak.keys() == {"agreed", "trusted", "weak"}
    assert with_weak["weak"].trust == "weak"


def test_what_was_said_of_an_earlier_picture_does_not_count(store: Store) -> None:
    scan(store, "same", "changed", "again")
    say(store, {"same": FAKE, "changed": FAKE, "again": FAKE})
    scan(store, "same")  # scored again: the picture is the one they saw
    scan(store, "changed", "again", sha256="ff" * 32)
    assert learn(store).left_out == {LeftOut.CHANGED: 2}
    say(store, {"again": REAL}, "ann", "carl")
    found = learn(store)
    assert {name: lesson.is_fake for name, lesson in lessons(found).items()} == {"same": True, "again": False}
    assert found.left_out == {LeftOut.CHANGED: 1}


def test_gold_and_what_can_no_longer_be_had_do_not_teach(store: Store) -> None:
    scan(store, "gold", "gone", "good")
    say(store, {"gold": FAKE, "gone": FAKE, "good": FAKE})
    Gold(store.database).add({ImageId("gold"): FAKE, ImageId("never submitted"): REAL}, note="", by=BY)
    store.add("gone", force=True)
    claim = store.take("gone")
    store.claims.settle(claim, [Rejected(claim.images[0], RejectReason.NOT_FOUND, "")], None)
    found = learn(store)
    assert list(lessons(found)) == ["good"]
    assert found.left_out == {LeftOut.GOLD: 1, LeftOut.FAILED: 1}


def test_the_newest_deciding_verdict_says_whether_the_machine_was_sure(store: Store) -> None:
    scan(store, "once sure", p=0.01)
    scan(store, "sure now", p=0.5)
    say(store, {"once sure": FAKE, "sure now": FAKE})
    scan(store, "once sure", p=0.5)
    scan(store, "sure now", p=0.01)
    with store.database.write() as session:
        add_sides(store.database, session, {ImageId("once sure"): Side.TRAIN, ImageId("sure now"): Side.TRAIN})
    assert {name: lesson.weight for name, lesson in lessons(learn(store)).items()} == {
        "once sure": 1.0, "sure now": 2.0,
    }  # fmt: skip


def test_the_split_stays_while_images_come_and_nothing_near_to_it_crosses(store: Store) -> None:
    Reviewers(store.database).save("ann", Role.REVIEWER, is_trusted=True, token_sha256="0" * 64, by=BY)
    names = [f"{number:03}.jpg" for number in range(60)]
    scan(store, *names[:40])
    say(store, {name: FAKE if number % 2 else REAL for number, name in enumerate(names[:40])}, "ann")
    first = learn(store)
    assert first.sides.keys() == set(names[:40])
    assert first == learn(store), "gathering changes nothing"
    assert keep(store, first) == 40
    assert keep(store, first) == 0
    held = {name for name, lesson in lessons(first).items() if lesson.side is Side.HOLDOUT}

    scan(store, *names[40:], sha256="00" * 32)  # twenty ids of the same bytes, with the lowest hash of all
    scan(store, min(held), sha256="00" * 32)  # and one of the held out ones shows them now
    say(store, dict.fromkeys([*names[40:], min(held)], FAKE), "ann")
    second = learn(store, replace(FEW, holdout_share=0.9))
    assert {name for name in names[:40] if lessons(second)[name].side is Side.HOLDOUT} == held
    assert second.sides == dict.fromkeys(names[40:], Side.HOLDOUT)
    assert second.left_out == {LeftOut.COPY: 20}
    keep(store, second)
    assert Holdout(store.database).sides() == {**first.sides, **second.sides}


def test_a_side_that_another_run_drew_meanwhile_is_not_overwritten(store: Store) -> None:
    with store.database.write() as session:
        add_sides(store.database, session, {ImageId("a"): Side.TRAIN})
    with pytest.raises(ConfigurationError, match="put a on the other side"), store.database.write() as session:
        add_sides(store.database, session, {ImageId("b"): Side.TRAIN, ImageId("a"): Side.HOLDOUT})
    assert Holdout(store.database).sides() == {ImageId("a"): Side.TRAIN}
    with pytest.raises(ValueError, match="only train and holdout"), store.database.write() as session:
        add_sides(store.database, session, {ImageId("c"): Side.VAL})


def test_a_campaign_of_one_uploader_hardly_teaches(store: Store) -> None:
    scan(store, *(f"campaign{number}" for number in range(30)), uploader="mallory")
    scan(store, *(f"crowd{number}" for number in range(30)))
    say(store, {f"{who}{number}": FAKE for who in ("campaign", "crowd") for number in range(30)}, "ann")
    found = learn(store, replace(FEW, include_weak=True, per_uploader=3, per_source=10))
    taught = Counter(lesson.name[:4] for lesson in found.lessons if lesson.side is not Side.HOLDOUT)
    assert taught["camp"] <= 3
    assert sum(taught.values()) == 10
    assert found.left_out[LeftOut.UPLOADER] > 10


def test_too_few_labels_are_told_with_what_would_help(store: Store) -> None:
    scan(store, "a", "b", "c")
    say(store, {"a": FAKE, "b": FAKE})
    say(store, {"c": FAKE}, "ann")
    found = learn(store, replace(FEW, min_labels=50))
    assert found.missing == (
        "real: 0 images with a trusted label; 50 are needed",
        "fake: 2 images with a trusted label; 50 are needed",
        "1 more have a weak label, from one person: a second look makes it trusted",
    )
    assert counts(found)["missing"] == list(found.missing)


def test_a_holdout_that_the_gate_could_not_judge_by_is_told_beforehand(store: Store) -> None:
    names = [f"{number}" for number in range(100)]
    scan(store, *names)
    say(store, {name: FAKE if number % 2 else REAL for number, name in enumerate(names)})
    found = learn(store, replace(FEW, min_labels=50, holdout_share=0.05))
    assert [line.split(":")[0] for line in found.missing] == ["real", "fake"]
    assert all("of 50 images in the holdout; 20 are needed to judge by" in line for line in found.missing)
    assert not learn(store, replace(FEW, min_labels=50, holdout_share=0.6)).missing


FILES = [
    Lesson(Origin.FILE, f"/data/{side}{number}{kind}.png", kind == "fake", side, "sd" if kind == "fake" else "none",
           group=f"{side}{number}")
    for side in (Side.TRAIN, Side.VAL) for number in range(150) for kind in ("real", "fake")
]  # fmt: skip


def test_what_the_prompt_was_tuned_on_is_replayed_also_through_its_descendants(store: Store) -> None:
    scan(store, "a", "b")
    say(store, {"a": FAKE, "b": REAL})
    wish = replace(FEW, replay=True)
    assert "give them with modctl prompt import" in learn(store, wish).missing[-1]
    assert not any("prompt import" in line for line in learn(store, FEW).missing)

    assert fill_manifest(store.database, parent(store).prompt_id, pack(FILES), lessons=len(FILES))
    assert not fill_manifest(store.database, parent(store).prompt_id, pack([]), lessons=0), "it stays as it is"
    first = learn(store, wish)
    assert len(first.of(Origin.FILE, Side.HOLDOUT)) == 300
    assert len(first.of(Origin.FILE, Side.TRAIN, Side.VAL)) == 200

    child = store.prompts.register(
        b"its child", name="retrained", backbone="tiny", backbone_revision="", question="?", metrics={},
        parent=parent(store).prompt_id, manifest=pack(first.lessons),
    )  # fmt: skip
    second = gather(Labels(store.database), Holdout(store.database), store.prompts, child, wish)
    assert second == first, "the child rehearses what its parent was tuned on, judged by the same pictures"
    with store.database.write() as session:
        session.execute(update(PromptRow).where(PromptRow.prompt_id == parent(store).prompt_id).values(manifest=None))
    orphan = gather(Labels(store.database), Holdout(store.database), store.prompts, child, wish)
    judges = [{lesson.name for lesson in each.of(Origin.FILE, Side.HOLDOUT)} for each in (first, orphan)]
    assert judges[0] == judges[1]
    assert not judges[1] & {lesson.name for lesson in orphan.of(Origin.FILE, Side.TRAIN, Side.VAL)}


def test_counts_say_what_a_dry_run_shows(store: Store) -> None:
    fill_manifest(store.database, parent(store).prompt_id, pack(FILES), lessons=len(FILES))
    scan(store, "a", "b", p=0.99)
    scan(store, "c", source="app")
    say(store, {"a": REAL, "b": FAKE})
    say(store, {"c": FAKE}, "ann")
    found = learn(store, replace(FEW, replay=True, include_weak=True, holdout_share=0.01))
    told = counts(found)
    assert told["images"] == 3
    assert told["label"] == {"fake": 2, "real": 1}
    assert told["source"] == {"app": 1, "web": 2}
    assert told["trust"] == {"trusted": 2, "weak": 1}
    assert told["reason"] == {"unsure": 3}
    assert sum(sum(row.values()) for row in told["side"].values()) == 3
    assert told["replay"]["pictures"] == 500
    assert told["replay"]["generator"] == {"sd": 250}
    assert told["sha256"] == found.sha256


def test_who_uploaded_is_kept_and_a_forced_round_changes_it(store: Store) -> None:
    add = store.submissions.add
    add([ImageId("a"), ImageId("b"), ImageId("c")], source="web", priority=0, force=False,
        uploader={ImageId("b"): "b'ob \"1\"", ImageId("a"): "ann"})  # fmt: skip
    assert [store.row(name).uploader for name in "abc"] == ["ann", 'b\'ob "1"', ""]
    add([ImageId("a")], source="web", priority=0, force=False, uploader="eve")
    assert store.row("a").uploader == "ann", "a known image is left as it is"
    add([ImageId("a"), ImageId("c")], source="web", priority=0, force=True, uploader="eve")
    add([ImageId("a")], source="web", priority=0, force=True)
    assert [store.row(name).uploader for name in "abc"] == ["eve", 'b\'ob "1"', "eve"], "unknown erases nothing"


def test_a_fingerprint_is_stored_with_the_image_and_follows_it(store: Store) -> None:
    scan(store, "a", pdq="0f" * 32)
    say(store, {"a": FAKE})
    assert [image.pdq for image in Labels(store.database).reviewed()] == ["0f" * 32]
    scan(store, "a", pdq="f0" * 32)
    assert [image.pdq for image in Labels(store.database).reviewed()] == ["f0" * 32]


def test_the_shipped_prompt_comes_with_its_pictures_also_where_it_was_there_before(tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path / 'moderation.db'}") as database:
        empty(database)
        installed = install(database, miniature.PROMPT_FILE).activated
        assert installed is not None
        prompts = Prompts(database)
        first = prompts.manifest(installed)
        assert first is not None
        shipped = unpack(first)
        assert {lesson.side for lesson in shipped} == {Side.TRAIN, Side.VAL}
        assert all(lesson.name.startswith("miniature:replay/") for lesson in shipped)
        assert all(file_of(lesson).is_file() for lesson in shipped)
        with database.write() as session:  # as a package before this one left it
            session.execute(update(PromptRow).values(manifest=None))
        assert install(database, miniature.PROMPT_FILE).activated is None
        assert prompts.manifest(installed) == first
        assert [event.kind for event in Events(database).list()].count("prompt.manifest") == 2
        install(database, miniature.PROMPT_FILE)
        assert [event.kind for event in Events(database).list()].count("prompt.manifest") == 2


@pytest.mark.parametrize(
    ("lesson", "problem"),
    [
        (Lesson(Origin.FILE, "miniature:../settings.py", True, Side.TRAIN), "leads out of the package"),
        (Lesson(Origin.REVIEWED, "a.jpg", True, Side.TRAIN), "not a file"),
    ],
)
def test_only_files_have_a_place(lesson: Lesson, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        file_of(lesson)
    assert file_of(Lesson(Origin.FILE, "/data/a.png", True, Side.TRAIN)) == Path("/data/a.png")


def test_an_imported_prompt_can_bring_the_list_of_its_pictures(
    installed: None, sqlite_url: str, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        Image.new("RGB", (20, 20)).save(tmp_path / f"{name}.png")
    manifest = tmp_path / "list.csv"
    manifest.write_text("path,label,split,generator\na.png,fake,train,sd\nb.png,real,val,\nc.png,real,test,\n")
    assert [(lesson.name, lesson.side, lesson.is_fake, lesson.generator) for lesson in lessons_in(manifest)] == [
        (str(tmp_path / "a.png"), Side.TRAIN, True, "sd"),
        (str(tmp_path / "b.png"), Side.VAL, False, "none"),
        (str(tmp_path / "c.png"), Side.HOLDOUT, False, "none"),
    ]
    done = ok("prompt", "import", miniature.PROMPT_FILE, "--no-check", "--manifest", manifest)
    assert "what it was tuned on is known already" in done.err
    plain = replace(SoftPrompt.from_bytes(miniature.PROMPT_FILE.read_bytes()), expert=None)
    (tmp_path / "plain.safetensors").write_bytes(plain.to_bytes())
    bring = ("prompt", "import", tmp_path / "plain.safetensors", "--no-check", "--json")
    prompt_id = ok(*bring).json()["prompt_id"]
    with open_database(sqlite_url) as database:
        assert Prompts(database).manifest(prompt_id) is None
        ok(*bring, "--manifest", manifest, "--reason", "from its makers")
        assert unpack(Prompts(database).manifest(prompt_id) or b"") == lessons_in(manifest)
        event = Events(database).list(kind="prompt.manifest")[0]
    assert (event.reason, event.payload) == ("from its makers", {"prompt": prompt_id, "lessons": 3})


def test_a_csv_says_who_uploaded_each(installed: None, tmp_path: Path) -> None:
    listed = tmp_path / "ids.csv"
    listed.write_text("image_id,owner\na.jpg,u1\nb.jpg,\nc.jpg,u2\n")
    ok("submit", "--csv", listed, "--uploader-column", "owner")
    ok("submit", "d.jpg", "--uploader", "u3")
    rows = ok("status", "--pending", "--json").lines()
    assert {row["image_id"]: row["uploader"] for row in rows} == {
        "a.jpg": "u1", "b.jpg": "", "c.jpg": "u2", "d.jpg": "u3",
    }  # fmt: skip
