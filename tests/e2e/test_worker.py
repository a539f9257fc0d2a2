"""One worker process and what a web app sees of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from moderation import Decision, ImageFailed, UnknownImage
from moderation.domain.policy import ANY_SOURCE, decide
from moderation.domain.submission import ImageId, State
from moderation.errors import RejectReason
from moderation.flows.registry.prompt import register
from moderation.images import decode, pdq
from moderation.storage.policies import Policies
from moderation.storage.tables import ImageRow
from tests.broken_files import broken_files
from tests.e2e.conftest import BATCH_SIZE, Stack
from tests.e2e.process import Worker
from tests.waiting import GENEROUS_S, wait_until


def test_two_hundred_pictures_in_two_hundred_verdicts_out(stack: Stack, worker: Worker) -> None:
    names = stack.pictures("main", 200)
    receipt = stack.app.submit_many(names, source="uploads")
    assert (receipt.new, receipt.known, receipt.queued) == (200, 0, True)
    assert stack.app.wait(names[0], timeout_s=GENEROUS_S).image_id == names[0]
    stack.wait_for("main", 200)
    stack.check_home("main", 200)
    thresholds = Policies(stack.database).current()[ANY_SOURCE].thresholds
    verdicts = stack.app.verdicts(source="uploads", limit=None)
    assert len(verdicts) == 200
    active = stack.prompts.active("miniature")
    assert active is not None
    for verdict in verdicts:
        assert 0.0 <= verdict.probability <= 1.0
        assert verdict.decision == decide(verdict.probability, thresholds)
        assert (verdict.backbone, verdict.prompt_id) == ("miniature", active.prompt_id)
    content = (stack.folder / "pictures" / names[7]).read_bytes()
    verdict = stack.app.wait(names[7], timeout_s=0)
    assert verdict.image_sha256 == hashlib.sha256(content).hexdigest()
    with stack.database.read() as session:
        assert session.get_one(ImageRow, names[7]).pdq == pdq(decode(content)[0])
    assert {"torch", "preprocessing", "calibration", "backbone_revision"} <= set(verdict.versions)


def test_pictures_do_not_depend_on_their_batch(stack: Stack, worker: Worker) -> None:
    stack.pictures("company", 24)
    twin = stack.put("alone/000.jpg", (stack.folder / "pictures" / "company/005.jpg").read_bytes())
    stack.app.submit_many([f"company/{number:03}.jpg" for number in range(24)])
    stack.wait_for("company", 24)
    stack.app.submit(twin)
    alone = stack.app.wait(twin, GENEROUS_S)
    together = stack.app.wait("company/005.jpg", GENEROUS_S)
    assert alone.margin == pytest.approx(together.margin, abs=1e-4)


def test_broken_files_end_as_named_failures(stack: Stack, worker: Worker) -> None:
    broken = broken_files()
    assert len(broken) > 20
    names = [stack.put(f"broken/{name}", content) for name, content in broken.items()]
    good = stack.pictures("broken/good", 6)
    strange = ["broken/missing.jpg", "../../../etc/passwd", "broken", "/etc/passwd"]
    stack.app.submit_many([*names, *good, *strange])
    wait_until(
        lambda: all(stack.row(name).state is not State.PENDING for name in [*names, *good, *strange]),
        "every file has ended",
    )
    reasons = {str(row.image_id): row.reason for row in stack.submissions.list(state=State.FAILED, limit=None)}
    assert {name for name in [*names, *strange] if name not in reasons} == set()
    assert set(reasons.values()) <= set(RejectReason) - {RejectReason.CRASHED, RejectReason.GAVE_UP}
    assert reasons["broken/missing.jpg"] == RejectReason.NOT_FOUND
    assert {stack.row(name).state for name in good} == {State.DONE}
    with pytest.raises(ImageFailed, match="truncated") as caught:
        stack.app.verdict("broken/png_cut_in_half.png")
    assert caught.value.reason == RejectReason.TRUNCATED
    with pytest.raises(UnknownImage):
        stack.app.verdict("broken/never submitted")


def test_the_same_ids_submitted_five_times_give_one_verdict(stack: Stack, worker: Worker) -> None:
    names = stack.pictures("again", 20)
    receipts = [stack.app.submit_many(names) for _ in range(5)]
    assert [receipt.new for receipt in receipts] == [20, 0, 0, 0, 0]
    stack.wait_for("again", 20)
    assert stack.app.submit_many(names).known == 20
    stack.check_home("again", 20)
    assert {row.attempts for row in stack.rows("again")} == {1}


def test_single_submits_fill_batches(stack: Stack, worker: Worker) -> None:
    names = stack.pictures("single", 160)
    before = len(worker.batches())
    stack.pause(worker)
    for name in names:
        stack.app.submit(name)
    worker.go_on()
    stack.wait_for("single", 160)
    stack.check_home("single", 160)
    wait_until(lambda: sum(batch["images"] for batch in worker.batches()[before:]) >= 160, "the log tells of all")
    sizes = [batch["images"] for batch in worker.batches()[before:]]
    assert max(sizes) <= BATCH_SIZE
    assert sum(sizes) / len(sizes) > BATCH_SIZE / 2, sizes


def test_a_forced_submission_gives_a_second_round(stack: Stack, worker: Worker) -> None:
    (name,) = stack.pictures("forced", 1)
    stack.app.submit(name)
    first = stack.app.wait(name, GENEROUS_S)
    stack.put(name, (stack.folder / "pictures" / stack.pictures("other", 3)[2]).read_bytes())
    assert stack.app.submit(name, force=True).new == 1
    second = stack.app.wait(name, GENEROUS_S)
    assert (first.round, second.round) == (1, 2)
    assert first.image_sha256 != second.image_sha256
    assert [verdict.round for verdict in stack.verdicts.list(image_id=ImageId(name))] == [2, 1]


def test_a_failed_image_can_be_mended_and_forced(stack: Stack, worker: Worker) -> None:
    stack.app.submit("mended/000.jpg")
    wait_until(lambda: stack.row("mended/000.jpg").state is State.FAILED, "the missing picture failed")
    (name,) = stack.pictures("mended", 1)
    assert stack.app.submit(name).known == 1
    with pytest.raises(ImageFailed, match="not found"):
        stack.app.verdict(name)
    stack.app.submit(name, force=True)
    assert stack.app.wait(name, GENEROUS_S).decision in Decision


def test_urgent_images_overtake(stack: Stack, worker: Worker) -> None:
    plain, urgent = stack.pictures("plain", 96), stack.pictures("urgent", 2)
    stack.pause(worker)
    stack.app.submit_many(plain)
    stack.app.submit_many(urgent, priority=10)
    worker.go_on()
    stack.wait_for("plain", 96)
    order = [verdict.image_id for verdict in stack.verdicts.list(limit=None)][::-1]
    order = [name for name in order if name.startswith(("plain/", "urgent/"))]
    # Three batches may have been on their way before the urgent ones were claimed.
    assert max(order.index(ImageId(name)) for name in urgent) < 4 * BATCH_SIZE


def test_a_newly_activated_prompt_is_used_without_a_restart(stack: Stack, worker: Worker) -> None:
    from moderation.detector import SoftPrompt

    shipped = stack.prompts.active("miniature")
    assert shipped is not None
    prompt = SoftPrompt.from_bytes(stack.prompts.blob(shipped.prompt_id))
    other = register(stack.prompts, replace(prompt, metadata={"note": "a twin"}).to_bytes(), name="twin")
    stranger = register(stack.prompts, _on_another_revision(prompt), name="stranger")
    first, second, third = stack.pictures("swapped", 3)
    stack.app.submit(first)
    assert stack.app.wait(first, GENEROUS_S).prompt_id == shipped.prompt_id
    stack.prompts.activate(other.prompt_id)
    stack.app.submit(second)
    assert stack.app.wait(second, GENEROUS_S).prompt_id == other.prompt_id
    # One that does not fit is refused loudly, and the last good one stays.
    stack.prompts.activate(stranger.prompt_id)
    stack.app.submit(third)
    assert stack.app.wait(third, GENEROUS_S).prompt_id == other.prompt_id
    assert any(stranger.prompt_id in line["message"] for line in worker.lines() if line["level"] == "ERROR")
    stack.prompts.activate(shipped.prompt_id)


def _on_another_revision(prompt: object) -> bytes:
    from moderation.detector import SoftPrompt

    assert isinstance(prompt, SoftPrompt)
    return replace(prompt, revision="of long ago").to_bytes()
