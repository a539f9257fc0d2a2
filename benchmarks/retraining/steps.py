"""The story's steps, on a platform whose worker runs: submit, review by script, and measure by stored verdicts."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from moderation.domain.policy import DEFAULT_THRESHOLDS
from moderation.domain.review import Answer, Said
from moderation.domain.submission import ImageId
from moderation.domain.verdict import Verdict
from moderation.evaluation.gate import HOLDOUT, Judged, judge
from moderation.flows.scanning.submit import submit
from moderation.wiring import Wiring

UPLOADS, MEASURED = "uploads", "measured"
_WAIT_S = 300.0


@dataclass(frozen=True)
class Reviewer:
    """Answers by the truth, but for a share of mistakes that its name and the image decide."""

    name: str
    wrong: float

    def answer(self, image_id: str, *, is_fake: bool) -> Answer:
        """What this one says of the image."""
        digest = hashlib.sha256(f"{self.name}\n{image_id}".encode()).digest()
        is_wrong = int.from_bytes(digest[:8], "big") / 2**64 < self.wrong
        return Answer.FAKE if is_fake != is_wrong else Answer.REAL


def set_policies(wiring: Wiring) -> None:
    """Everything that is uploaded will be looked at, whatever the machine decides; nothing that measures ever is."""
    everything = replace(DEFAULT_THRESHOLDS, audit_rate=1.0, block_check_rate=1.0)
    nothing = replace(DEFAULT_THRESHOLDS, block_at=DEFAULT_THRESHOLDS.review_at, audit_rate=0.0, block_check_rate=0.0)
    for source, thresholds in ((UPLOADS, everything), (MEASURED, nothing)):
        wiring.policies.set(source, thresholds, author="story", reason="so that the story can be told")


def score(wiring: Wiring, image_ids: Sequence[str], *, source: str, force: bool = False) -> dict[str, Verdict]:
    """Submits the images and waits for their verdicts, which the worker that runs gives. Raises RuntimeError."""
    ids = [ImageId(image_id) for image_id in image_ids]
    submit(ids, submissions=wiring.submissions, bell=wiring.bell, batch_size=wiring.settings.batch_size,
           source=source, force=force)  # fmt: skip
    deadline = time.monotonic() + _WAIT_S
    while wiring.submissions.counts()["waiting"] + wiring.submissions.counts()["claimed"]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"no verdicts after {_WAIT_S:.0f} s: does a worker run?")
        time.sleep(0.1)
    found = wiring.verdicts.latest(ids)
    if len(found) != len(ids):
        raise RuntimeError(f"{len(ids) - len(found)} images failed: {wiring.submissions.failures()}")
    return {str(image_id): verdict for image_id, verdict in found.items()}


def review(wiring: Wiring, reviewers: Sequence[Reviewer], truth: Mapping[str, bool]) -> int:
    """Lets the reviewers take turns until no task is left for any; returns how many answers they gave."""
    answers, idle = 0, 0
    while idle < len(reviewers):
        for reviewer in reviewers:
            desk = wiring.desk(reviewer.name, is_senior=False)
            task = desk.next()
            idle = idle + 1 if task is None else 0
            if task is not None:
                said = reviewer.answer(task.image_id, is_fake=truth[task.image_id])
                desk.answer(task, Said(said, seconds=1.0))
                answers += 1
    return answers


def compared(
    before: Mapping[str, Verdict], after: Mapping[str, Verdict], truth: Mapping[str, bool], wiring: Wiring
) -> dict[str, Any]:
    """AUC and balanced accuracy of two rounds of verdicts on the same images, and the paired 95 % interval."""
    ids = sorted(truth)
    flagged_at = wiring.policies.current()["*"].thresholds.review_at
    none = np.array([""] * len(ids))
    rows = Judged(
        is_fake=np.array([truth[each] for each in ids]),
        before_p=np.array([before[each].probability for each in ids]),
        before_margin=np.array([before[each].margin for each in ids]),
        after_p=np.array([after[each].probability for each in ids]),
        after_margin=np.array([after[each].margin for each in ids]),
        threshold=np.full(len(ids), flagged_at),
        group=none, source=none, generator=none, band=none,
        part=np.array([HOLDOUT] * len(ids)),
    )  # fmt: skip
    return asdict(judge(rows, margin=0.01, seed=0, with_replay=False).lines[0])
