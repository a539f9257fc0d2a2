"""modctl rescore itself: begin or pick up a run, follow it, show what it would change, and apply that if asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from moderation.cli.rescore.follow import follow, say_if_nobody_listens, work_here
from moderation.cli.rescore.view import diff_json, print_diff, run_line, say_failures
from moderation.cli.shared import by_whom, confirm, counted, parts, print_json, say

if TYPE_CHECKING:
    from moderation.domain.rescore import RescoreRun, RescoreScope
    from moderation.domain.rescore_diff import RescoreDiff
    from moderation.flows.rescoring.rescore import Applied
    from moderation.flows.scanning.scan import Scanner
    from moderation.storage.events import By
    from moderation.wiring import Wiring


@dataclass(frozen=True, slots=True)
class Wishes:
    """What was asked for on the command line."""

    scope: RescoreScope
    rate: float | None
    limit: int
    to_apply: bool
    local: bool
    watch: bool
    yes: bool
    reason: str
    actor: str
    as_json: bool


def rescore(wishes: Wishes) -> int:
    """Does it; returns the exit code."""
    with parts() as wiring:
        scanner = wiring.scanner() if wishes.local else None  # first: without torch no run is begun
        by = by_whom(wiring, wishes.actor, wishes.reason)
        run = _run(wiring, wishes, by)
        run = _finished(wiring, run, scanner, wishes)
        if run.is_open:  # left to the workers
            if wishes.as_json:
                print_json({"run": run})
            else:
                say(f"Follow it: modctl rescore status {run.run_id} --watch")
            return 0
        say(run_line(run))
        say_failures(run)
        if run.state not in ("done", "applied"):
            if wishes.as_json:
                print_json({"run": run})
            return 1
        diff = wiring.comparer.diff(run, limit=wishes.limit)
        if not wishes.as_json:
            print_diff(diff)
        applied = _apply(wiring, wishes, diff, by) if wishes.to_apply else None
        if wishes.as_json:
            print_json({"run": wiring.rescores.get(run.run_id), "diff": diff_json(diff), "applied": applied})
        elif diff.images and not wishes.to_apply:
            say("No decision has changed. Make them the verdicts: the same command with --apply")
    return 0


def _run(wiring: Wiring, wishes: Wishes, by: By) -> RescoreRun:
    """The run to pick up, or a new one."""
    from moderation.flows.rescoring.rescore import begin, find_run, only_active

    prompt_id = only_active(wiring.prompts, wiring.backbone_name)
    known = find_run(wiring.rescores, prompt_id, wishes.scope, to_apply=wishes.to_apply)
    if known is not None:
        if known.is_open:
            say(f"Picked up: {run_line(known)}")
            if wishes.rate not in (None, known.rate):
                say(f"It goes at {known.rate:g} images a second; --rate is for new runs.")
        return known
    rate = wishes.rate or wiring.settings.rescore_rate
    bell = None if wishes.local else wiring.bell
    run, has_heard = begin(wiring.rescores, bell, prompt_id, wishes.scope, rate=rate, by=by)
    if run.is_open:
        say(f"Run {run.run_id}: {counted(run.images, 'image')} ({run.scope.described()}) to score with {prompt_id}.")
    if not has_heard:
        say("The broker that MODERATION_BROKER_URL names does not answer. The run is stored, and a worker's sweep will")
        say("find it once it is back.")
    return run


def _finished(wiring: Wiring, run: RescoreRun, scanner: Scanner | None, wishes: Wishes) -> RescoreRun:
    if not run.is_open:
        return run
    if scanner is not None:
        return work_here(wiring, run, scanner)
    say_if_nobody_listens(wiring)
    return follow(wiring, run) if wishes.watch else run


def _apply(wiring: Wiring, wishes: Wishes, diff: RescoreDiff, by: By) -> Applied | None:
    from moderation.flows.rescoring.rescore import apply

    if not diff.images:
        say("There is nothing to apply.")
        return None
    confirm(
        f"Give {counted(diff.images, 'image')} new verdicts, {diff.changed:,} of them another decision?",
        yes=wishes.yes,
    )
    done = apply(wiring.applying, diff, by=by)
    say(f"{counted(done.images, 'image')} have new verdicts, {done.changed:,} of them another decision; "
        f"{counted(done.tasks, 'image')} drawn for review, where those with an open task keep it.")  # fmt: skip
    return done
