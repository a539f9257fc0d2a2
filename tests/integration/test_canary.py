"""A worker's canary with a real detector and both databases: recorded once, compared ever after."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update

from moderation.detector import Backbone, Detector, Score, SoftPrompt, load_backbone
from moderation.domain.canary import Known, Machine
from moderation.domain.prompt import PromptId
from moderation.domain.submission import ImageId, State
from moderation.errors import CanaryFailed, ImageRejected, RejectReason, ServiceDown
from moderation.flows.registry.prompt import register
from moderation.flows.scanning.active import ActivePrompt
from moderation.flows.scanning.canary import Canary
from moderation.flows.scanning.looker import Looker, Picture
from moderation.flows.scanning.scan import Scanner
from moderation.flows.scanning.witness import Witness
from moderation.images import Views, decode, views_of
from moderation.images.canary import NAMES
from moderation.miniature import PROMPT_FILE, WORD_FILE
from moderation.miniature.canary import shipped_answers
from moderation.storage.events import By, Events
from moderation.storage.registry.canaries import Canaries
from moderation.storage.tables import CanaryRow, PromptRow
from tests.command import modctl, ok, refusal
from tests.e2e.conftest import picture
from tests.store import Store
from workers.canary import CanaryWatch

CPU = Machine("cpu", "float32")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("miniature", device="cpu", dtype="float32")


@pytest.fixture
def active(store: Store, backbone: Backbone) -> ActivePrompt:
    record = register(store.prompts, PROMPT_FILE.read_bytes(), name="shipped")
    store.prompts.activate(record.prompt_id)
    return ActivePrompt(backbone, store.prompts, {})


@pytest.fixture
def looker(active: ActivePrompt, backbone: Backbone) -> Iterator[Looker]:
    def fetch(image_id: ImageId, crops: int) -> Picture:
        return prepared(backbone, picture(len(image_id)), crops)

    with ThreadPoolExecutor(2) as fetchers:
        yield Looker(fetch, active.native_crops, active.scorer, fetchers, max_attempts=3, retry_base_s=0.1)


def prepared(backbone: Backbone, data: bytes, crops: int, *, turned: bool = True) -> Picture:
    image, facts = decode(data, exif_orientation=turned)
    return Picture(facts, views_of(image, backbone.image_size, crops))


def canary(
    store: Store,
    looker: Looker,
    backbone: Backbone,
    *,
    worker: str = "w1",
    machine: Machine = CPU,
    shipped: Sequence[Known] = (),
    turned: bool = True,
) -> Canary:
    prompts = store.prompts
    witness = Witness(
        prepare=lambda data, crops: prepared(backbone, data, crops, turned=turned),
        detector=lambda prompt_id: Detector(
            backbone, SoftPrompt.from_bytes(prompts.blob(prompts.find(prompt_id).prompt_id))
        ),
        canaries=Canaries(store.database),
        backbone_revision=backbone.revision,
        machine=machine,
        shipped=shipped,
        tolerance=1e-3,
        worker=worker,
        device=looker.device,
    )
    return Canary(looker, witness)


def tamper(store: Store, change: float) -> None:
    with store.database.write() as session:
        for row in session.scalars(select(CanaryRow)).all():
            session.execute(update(CanaryRow).values(answers=[row.answers[0] + change, *row.answers[1:]]))


def kinds(store: Store) -> list[str]:
    found = reversed(Events(store.database).list(limit=None))
    return [event.kind for event in found if event.kind.startswith("canary")]


def test_the_first_worker_records_and_the_others_agree(store: Store, looker: Looker, backbone: Backbone) -> None:
    first = canary(store, looker, backbone, shipped=shipped_answers(exif_orientation=True)).check()
    assert first.is_first
    second = canary(store, looker, backbone, worker="w2").check()
    assert not second.is_first
    assert second.answers == pytest.approx(first.answers)
    (known,) = Canaries(store.database).list()
    assert (known.worker, known.machine) == ("w1", CPU)
    assert known.answers == pytest.approx(first.answers)
    (event,) = Events(store.database).list(kind="canary.recorded")
    assert event.actor == "w1"
    assert event.payload["answers"] == pytest.approx(first.answers)
    assert Events(store.database).verify()[1] is None


def test_an_answer_that_moved_fails(store: Store, looker: Looker, backbone: Backbone) -> None:
    canary(store, looker, backbone).check()
    tamper(store, 0.0005)
    canary(store, looker, backbone).check()
    tamper(store, 0.0015)
    with pytest.raises(CanaryFailed, match=r"picture 'small' was 0\.1345.*is 0\.1325.*0\.001 is allowed") as caught:
        canary(store, looker, backbone).check()
    assert caught.value.data["picture"] == "small"
    assert "modctl canary forget --prompt" in str(caught.value)


def test_even_the_first_worker_is_checked_where_the_answers_ship(
    store: Store, looker: Looker, backbone: Backbone
) -> None:
    (shipped,) = shipped_answers(exif_orientation=True)
    wrong = dataclasses.replace(shipped, answers=(*shipped.answers[:5], shipped.answers[5] + 0.01))
    with pytest.raises(CanaryFailed, match=r"picture 'large' was .* \(cpu in float32, shipped with the package\)"):
        canary(store, looker, backbone, shipped=[wrong]).check()
    assert kinds(store) == []  # nothing of it is on record
    of_another = dataclasses.replace(wrong, asked=dataclasses.replace(wrong.asked, prompt_id="another"))
    assert canary(store, looker, backbone, shipped=[of_another]).check().is_first


def test_pictures_that_are_not_turned_fail(store: Store, looker: Looker, backbone: Backbone) -> None:
    canary(store, looker, backbone).check()
    with pytest.raises(CanaryFailed, match="picture 'turned'"):
        canary(store, looker, backbone, turned=False).check()


def test_an_installation_that_turns_no_picture_has_answers_of_its_own(
    store: Store, looker: Looker, backbone: Backbone
) -> None:
    shipped = shipped_answers(exif_orientation=False)
    assert canary(store, looker, backbone, turned=False, shipped=shipped).check().is_first
    assert not canary(store, looker, backbone, turned=False, shipped=shipped).check().is_first


def test_another_kind_of_machine_is_compared_roughly_and_recorded(
    store: Store, looker: Looker, backbone: Backbone
) -> None:
    canary(store, looker, backbone).check()
    tamper(store, 0.02)
    other = Machine("cuda sm90", "bfloat16")
    assert canary(store, looker, backbone, machine=other).check().is_first
    assert len(Canaries(store.database).list()) == 2
    move_what_the_cpu_said(store)
    with pytest.raises(CanaryFailed, match=r"0\.05 is allowed"):
        canary(store, looker, backbone, machine=Machine("mps", "float32")).check()
    assert not canary(store, looker, backbone, machine=other).check().is_first  # its own kind is known


def test_who_gave_known_answers_of_its_kind_is_not_measured_by_other_kinds(
    store: Store, looker: Looker, active: ActivePrompt, backbone: Backbone
) -> None:
    gpu = Machine("cuda sm90", "bfloat16")
    for machine in (CPU, gpu):
        canary(store, looker, backbone, machine=machine).check()
    now = use_another(store, active)
    assert canary(store, looker, backbone, worker="trainer").witness.vouch(now)
    move_what_the_cpu_said(store)  # as a steep prompt does by its number format alone
    assert canary(store, looker, backbone, machine=gpu).check().is_first
    assert not canary(store, looker, backbone, machine=gpu).check().is_first
    with pytest.raises(CanaryFailed, match=r"\(cpu in float32, trainer\).*0\.05 is allowed"):
        canary(store, looker, backbone, machine=Machine("mps", "float32")).check()


def move_what_the_cpu_said(store: Store) -> None:
    with store.database.write() as session:
        session.execute(update(CanaryRow).where(CanaryRow.device == "cpu").values(answers=[0.9] * len(NAMES)))


def test_two_first_workers_at_once_make_one_record(store: Store, looker: Looker, backbone: Backbone) -> None:
    barrier = threading.Barrier(4)
    firsts: list[bool] = []

    def worker(number: int) -> None:
        mine = canary(store, looker, backbone, worker=f"w{number}")
        barrier.wait()
        firsts.append(mine.check().is_first)

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(firsts) == [False, False, False, True]
    assert kinds(store) == ["canary.recorded"]


class Faulty:
    """A device that gives up: its scorer raises, or has no number for the third picture."""

    def __init__(self, active: ActivePrompt, *, raises: bool) -> None:
        self._active = active
        self._raises = raises

    def __call__(self) -> object:
        scorer = self._active.scorer()
        raises = self._raises

        class Detector:
            native_crops = scorer.detector.native_crops

            def score(self, views: Sequence[Views], sources: Sequence[str]) -> list[Score | ImageRejected]:
                if raises:
                    raise RuntimeError("CUDA error: an illegal memory access was encountered")
                found = list(scorer.detector.score(views, sources))
                found[2] = ImageRejected(RejectReason.NOT_A_NUMBER, "margin nan")
                return found

        return dataclasses.replace(scorer, detector=Detector())  # type: ignore[arg-type]  # as broken as it is


@pytest.mark.parametrize(("raises", "said"), [(True, "CUDA error"), (False, "picture 'grey' could not be scored")])
def test_a_device_that_gives_up_fails(
    store: Store, looker: Looker, active: ActivePrompt, backbone: Backbone, raises: bool, said: str
) -> None:
    broken = dataclasses.replace(looker, scorer=Faulty(active, raises=raises))  # type: ignore[arg-type]
    with pytest.raises(CanaryFailed, match=said):
        canary(store, broken, backbone).check()
    assert kinds(store) == []


def watch(store: Store, looker: Looker, active: ActivePrompt, backbone: Backbone, ended: list[int]) -> CanaryWatch:
    return CanaryWatch(
        canary(store, looker, backbone), last_used=lambda: active.last_used, interval_s=0.0, end=ended.append
    )


def scanner(store: Store, looker: Looker) -> Scanner:
    return Scanner(claims=store.claims, policies=store.policies, looker=looker, batch_size=8, lease_s=60.0)


def test_a_worker_that_failed_claims_nothing_and_gives_back_what_it_holds(
    store: Store, looker: Looker, active: ActivePrompt, backbone: Backbone, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[int] = []
    watching = watch(store, looker, active, backbone, ended)
    watching.begin()
    watching.look()
    assert ended == []
    store.add("before")
    assert scanner(store, looker).scan([ImageId("before")]) is not None
    store.add("during", "after")

    fetched, failed = threading.Event(), threading.Event()

    def slow(image_id: ImageId, crops: int) -> Picture:
        fetched.set()
        assert failed.wait(20)
        return prepared(backbone, picture(1), crops)

    caught: list[BaseException] = []

    def scan() -> None:
        try:
            scanner(store, dataclasses.replace(looker, fetch=slow)).scan([ImageId("during")])
        except CanaryFailed as error:
            caught.append(error)

    batch = threading.Thread(target=scan)
    batch.start()
    assert fetched.wait(20)
    tamper(store, 0.01)
    watching.look()
    failed.set()
    batch.join(20)
    assert len(caught) == 1
    assert ended == [CanaryFailed.exit_code]
    with pytest.raises(CanaryFailed):
        scanner(store, looker).scan([ImageId("after")])
    for name in ("during", "after"):
        row = store.row(name)
        assert (row.state, row.claimed, row.crashes) == (State.PENDING, False, 0), name
    assert any(record.levelno == logging.CRITICAL for record in caplog.records)
    watching.look()
    assert kinds(store) == ["canary.recorded", "canary.failed"]
    (event,) = Events(store.database).list(kind="canary.failed")
    assert event.payload["picture"] == "small"
    assert event.payload["good_until"]


def test_another_prompt_is_checked_when_it_comes_into_use(
    store: Store, looker: Looker, active: ActivePrompt, backbone: Backbone
) -> None:
    ended: list[int] = []
    watching = CanaryWatch(
        canary(store, looker, backbone), last_used=lambda: active.last_used, interval_s=3600.0, end=ended.append
    )
    watching.begin()
    watching.look()
    assert kinds(store) == ["canary.recorded"]
    other = register(store.prompts, SoftPrompt.load(WORD_FILE).to_bytes(), name="word")
    store.prompts.activate(other.prompt_id)
    watching.look()
    assert kinds(store) == ["canary.recorded"]  # no batch used it yet
    active.scorer()
    watching.look()
    assert kinds(store) == ["canary.recorded"] * 2
    with store.database.write() as session:
        session.execute(update(CanaryRow).where(CanaryRow.prompt_id != other.prompt_id).values(answers=[0.0] * 6))
    first = next(each.prompt_id for each in store.prompts.list() if each.name == "shipped")
    store.prompts.activate(first)
    active.scorer()
    watching.look()
    assert ended == [CanaryFailed.exit_code]


def use_another(store: Store, active: ActivePrompt) -> PromptId:
    """Another prompt is activated and in use; nobody has asked it for the pictures."""
    other = register(store.prompts, SoftPrompt.load(WORD_FILE).to_bytes(), name="word")
    store.prompts.activate(other.prompt_id)
    active.scorer()
    return other.prompt_id


def test_a_broken_worker_that_is_first_after_an_activation_stops_and_healthy_ones_go_on(
    store: Store, looker: Looker, active: ActivePrompt, backbone: Backbone
) -> None:
    before = canary(store, looker, backbone, worker="healthy").check().prompt_id
    now = use_another(store, active)
    broken = canary(store, looker, backbone, worker="broken", turned=False)
    with pytest.raises(CanaryFailed, match=f"nothing is known of {now} here, so {before} was asked first") as caught:
        broken.check()
    assert "picture 'turned' was" in caught.value.problem
    assert caught.value.data["prompt"] == before
    assert kinds(store) == ["canary.recorded"]
    assert canary(store, looker, backbone, worker="healthy").check().is_first
    assert not canary(store, looker, backbone, worker="another").check().is_first
    assert [known.worker for known in Canaries(store.database).list()] == ["healthy", "healthy"]


def test_shipped_answers_too_are_given_again_before_any_are_recorded(
    store: Store, looker: Looker, active: ActivePrompt, backbone: Backbone
) -> None:
    now = use_another(store, active)
    shipped = shipped_answers(exif_orientation=True)
    with pytest.raises(CanaryFailed, match="shipped with the package"):
        canary(store, looker, backbone, shipped=shipped, turned=False).check()
    assert kinds(store) == []
    assert canary(store, looker, backbone, shipped=shipped).check().prompt_id == now


def test_a_prompt_that_is_damaged_or_was_asked_elsewhere_proves_nothing(
    store: Store, looker: Looker, active: ActivePrompt, backbone: Backbone
) -> None:
    before = canary(store, looker, backbone).check().prompt_id
    now = use_another(store, active)
    assert canary(store, looker, backbone, machine=Machine("mps", "float32"), turned=False).check().is_first
    with store.database.write() as session:
        session.execute(update(PromptRow).where(PromptRow.prompt_id == before).values(blob=b"damaged"))
    Canaries(store.database).forget(now, by=By("root"))
    assert canary(store, looker, backbone).check().is_first


def test_a_candidate_s_answers_are_on_record_before_any_worker_uses_it(
    store: Store, looker: Looker, active: ActivePrompt, backbone: Backbone
) -> None:
    made = register(store.prompts, SoftPrompt.load(WORD_FILE).to_bytes(), name="word").prompt_id
    assert not canary(store, looker, backbone, worker="maker").witness.vouch(made)  # this kind of machine is not known
    assert kinds(store) == []
    canary(store, looker, backbone).check()
    with pytest.raises(CanaryFailed, match="picture 'turned'"):
        canary(store, looker, backbone, worker="maker", turned=False).witness.vouch(made)
    assert canary(store, looker, backbone, worker="maker").witness.vouch(made)
    assert canary(store, looker, backbone, worker="maker").witness.vouch(made)  # once more changes nothing
    assert [(known.asked.prompt_id, known.worker) for known in Canaries(store.database).list()][:1] == [(made, "maker")]
    use_another(store, active)
    assert not canary(store, looker, backbone).check().is_first
    with pytest.raises(CanaryFailed, match="maker"):
        canary(store, looker, backbone, turned=False).check()
    assert kinds(store) == ["canary.recorded"] * 2


def test_a_database_that_is_away_is_no_failure(
    store: Store, looker: Looker, active: ActivePrompt, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    watching = watch(store, looker, active, backbone, ended)
    watching.begin()

    def away(*_: object) -> None:
        raise ServiceDown("the SQL database", "no")

    with monkeypatch.context() as patch:
        patch.setattr(store.prompts, "in_use", away)
        with pytest.raises(ServiceDown):
            watching.look()
    assert ended == []
    assert kinds(store) == ["canary.recorded"]


def test_known_answers_are_listed_and_dropped(
    store: Store, looker: Looker, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODERATION_DATABASE_URL", store.database.url.render_as_string(hide_password=False))
    assert "Nothing is on record" in ok("canary", "list").out
    prompt_id = canary(store, looker, backbone, worker="scan-1@host").check().prompt_id
    shown = ok("canary", "list").out
    assert prompt_id in shown
    assert "scan-1@host" in shown
    (line,) = ok("canary", "list", "--json").lines()
    assert line["machine"] == {"device": "cpu", "dtype": "float32"}
    assert "add --yes" in refusal(modctl("canary", "forget"))
    assert "not a registered id" in refusal(modctl("canary", "forget", "--prompt", "nonsense", "--yes"))
    ok("canary", "forget", "--prompt", prompt_id, "--yes", "--reason", "new torch", "--actor", "root")
    assert Canaries(store.database).list() == []
    (event,) = Events(store.database).list(kind="canary.forgotten")
    assert (event.actor, event.reason, event.payload) == ("root", "new torch", {"prompt": prompt_id, "rows": 1})
    assert canary(store, looker, backbone).check().is_first
