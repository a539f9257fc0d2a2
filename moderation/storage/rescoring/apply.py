"""Applying a rescoring run: new verdicts that decide, from scores that are there. A chunk is one transaction.

Each image begins a new round that is done at once, so that whoever applies again finds it done. Nothing is applied but
what was shown: scores, thresholds and prompt are as they were then, or it stops.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row as Columns
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from moderation.domain.order import due_at
from moderation.domain.policy import Policy, decide
from moderation.domain.prompt import PromptState
from moderation.domain.rescore import RescoreId, RescoreScope, RescoreState
from moderation.domain.rescore_diff import Pin
from moderation.domain.sampling import Drawn, draw
from moderation.domain.submission import ImageId, State
from moderation.domain.verdict import Decision
from moderation.errors import ConfigurationError
from moderation.storage import events
from moderation.storage.database import Database
from moderation.storage.events import By
from moderation.storage.policies import current_in, for_sources
from moderation.storage.rescoring.difference import is_seen
from moderation.storage.rescoring.runs import changed_prompt
from moderation.storage.rescoring.scope import NEW, OLD, has_score, in_scope
from moderation.storage.reviewing.tasks import NewTask, open_tasks
from moderation.storage.tables import PromptRow, RescoreRunRow, SubmissionRow, VerdictRow

CHUNK = 500
"""Images of one transaction: a scan waits for the chain of events and, on SQLite, for the write lock so long."""


@dataclass(frozen=True, slots=True)
class AppliedPart:
    """What one chunk did. last: where the next one begins; None: this was the last."""

    images: int
    changed: int
    tasks: int
    last: ImageId | None


@dataclass(frozen=True, slots=True)
class _New:
    """An image of the chunk: its score's row, its new round, what today's policy decides, and whether it is drawn."""

    score: Columns[Any]
    round: int
    priority: int
    decision: Decision
    policy_id: int
    drawn: Drawn | None


class Applying:
    """The `verdict` table, where a run's scores become verdicts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def apply_some(self, run_id: RescoreId, pin: Pin, *, after: str, by: By, limit: int = CHUNK) -> AppliedPart:
        """Gives the next images after id `after` their new verdicts, with review tasks by the usual draw and an event.

        Images that people have answered for get no second task for the same bytes. Raises ConfigurationError where the
        run's scores are not complete, its prompt is active no more, or the thresholds are not those of the pin.
        """
        with self._database.write() as session:
            run = session.get_one(RescoreRunRow, run_id, with_for_update=True)
            policies = _check(session, run, pin)
            found = _find(self._database, session, run, pin, after, limit)
            new = self._lock(session, found, for_sources(policies, {row.source for row in found}))
            tasks = self._write(session, run, new) if new else 0
            last = ImageId(found[-1].image_id) if len(found) == limit else None
            run.applied += len(new)
            if last is None:
                run.state = RescoreState.APPLIED
            payload = {"run": run_id, "prompt": run.prompt_id, "images": len(new), "moves": _moves(new), "tasks": tasks}
            if new or last is None:
                events.append(self._database, session, "rescore.apply", by, payload=payload)
            changed = sum(each.score.before != each.decision for each in new)
            return AppliedPart(len(new), changed, tasks, last)

    def _lock(self, session: Session, found: Sequence[Columns[Any]], policies: Mapping[str, Policy]) -> list[_New]:
        """Those that are still in the round that was scored; nobody moves them on until this transaction ends."""
        query = select(SubmissionRow.image_id, SubmissionRow.round, SubmissionRow.priority).where(
            SubmissionRow.image_id.in_([row.image_id for row in found]), SubmissionRow.state == State.DONE
        )
        order = self._database.byte_order(SubmissionRow.image_id)  # one for all who lock several
        held = {row[0]: row for row in session.execute(query.order_by(order).with_for_update())}
        new = []
        for row in found:
            if row.image_id not in held or held[row.image_id].round != row.round:
                continue
            policy = policies[row.source]
            decision = decide(row.probability, policy.thresholds)
            drawn = None if row.is_seen else draw(ImageId(row.image_id), decision, row.probability, policy)
            new.append(_New(row, row.round + 1, held[row.image_id].priority, decision, policy.policy_id, drawn))
        return new

    def _write(self, session: Session, run: RescoreRunRow, new: Sequence[_New]) -> int:
        now = self._database.now(session)
        ids = [each.score.image_id for each in new]
        session.execute(
            update(SubmissionRow).where(SubmissionRow.image_id.in_(ids)).values(round=SubmissionRow.round + 1),
            execution_options={"synchronize_session": False},
        )
        session.execute(self._database.insert(VerdictRow), [_verdict(each, run, now) for each in new])
        query = select(VerdictRow.image_id, VerdictRow.round, VerdictRow.verdict_id).where(
            VerdictRow.image_id.in_(ids), VerdictRow.prompt_id == run.prompt_id, VerdictRow.shadow.is_(False)
        )
        numbers = {(row[0], row[1]): row[2] for row in session.execute(query)}
        tasks = [_task(each, each.drawn, numbers[each.score.image_id, each.round], now) for each in new if each.drawn]
        open_tasks(self._database, session, tasks, now)
        return len(tasks)


def _check(session: Session, run: RescoreRunRow, pin: Pin) -> dict[str, Policy]:
    """Today's policies by source. Raises ConfigurationError."""
    if run.state not in (RescoreState.DONE, RescoreState.APPLIED):
        raise ConfigurationError("run", f"{run.run_id} is {run.state}, so its scores are not complete")
    # A lock: nobody activates another one until this chunk is in.
    active = select(PromptRow.state).where(PromptRow.prompt_id == run.prompt_id).with_for_update(read=True)
    if session.scalar(active) != PromptState.ACTIVE:
        raise ConfigurationError("run", f"{run.run_id} can't be applied: {changed_prompt(run.prompt_id)}")
    policies = current_in(session)
    if {source: policy.policy_id for source, policy in policies.items()} != pin.policies:
        raise ConfigurationError(
            "threshold", "it was changed since the difference was shown", hint="look again: modctl rescore --apply"
        )
    return policies


def _find(
    database: Database, session: Session, run: RescoreRunRow, pin: Pin, after: str, limit: int
) -> Sequence[Columns[Any]]:
    columns = (
        NEW.image_id, NEW.round, NEW.source, NEW.margin, NEW.probability, NEW.image_sha256, NEW.backbone, NEW.versions,
        NEW.latency_ms, NEW.scored_at, OLD.decision.label("before"), is_seen().label("is_seen"),
    )  # fmt: skip
    query = select(*columns).where(
        *in_scope(database, RescoreScope.from_json(run.scope), run.prompt_id),
        has_score(run.prompt_id),
        OLD.verdict_id <= pin.last_verdict,
        NEW.verdict_id <= pin.last_verdict,
        SubmissionRow.image_id > after,
    )
    return session.execute(query.order_by(SubmissionRow.image_id).limit(limit)).all()


def _moves(new: Sequence[_New]) -> dict[str, int]:
    return dict(sorted(Counter(f"{each.score.before} -> {each.decision}" for each in new).items()))


def _verdict(new: _New, run: RescoreRunRow, now: datetime) -> dict[str, object]:
    same = ("image_id", "source", "margin", "probability", "image_sha256", "backbone", "latency_ms", "scored_at")
    return {
        **{name: getattr(new.score, name) for name in same},
        "round": new.round,
        "prompt_id": run.prompt_id,
        "policy_id": new.policy_id,
        "shadow": False,
        "decision": new.decision,
        "versions": {**new.score.versions, "rescore": str(run.run_id)},
        "created_at": now,
    }


def _task(new: _New, drawn: Drawn, verdict_id: int, now: datetime) -> NewTask:
    return NewTask(
        image_id=ImageId(new.score.image_id),
        reason=drawn.reason,
        source=new.score.source,
        inclusion_probability=drawn.inclusion_probability,
        priority=new.priority,
        probability=new.score.probability,
        verdict_id=verdict_id,
        due_at=due_at(now, drawn.uncertainty, new.priority),
    )
