"""modctl prompt show: one prompt, what it holds, where it comes from and what became of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from moderation.cli.prompt.view import described, flattened
from moderation.cli.shared import counted, json_option, local_time, parts, print_facts, print_json, say
from moderation.errors import ConfigurationError

if TYPE_CHECKING:
    from moderation.domain.audit import Event
    from moderation.domain.prompt import PromptId, PromptRecord
    from moderation.domain.training_run import GateState
    from moderation.flows.registry.prompt import PromptContents
    from moderation.wiring import Wiring


@click.command()
@click.argument("prompt_id", metavar="ID")
@json_option
def show(prompt_id: str, as_json: bool) -> None:
    """All that is known of one prompt. The start of an id is enough."""
    from moderation.flows.registry.states import ancestry, history

    with parts() as wiring:
        record = wiring.prompts.find(prompt_id)
        holds, damage = _holds(wiring, record.prompt_id)
        line = ancestry(wiring.prompts.list(), record.parent)
        gate = wiring.prompt_states.gate(record.prompt_id)
        events = history(wiring.events, record.prompt_id)
        manifest = _manifest(wiring, record.prompt_id)
    if as_json:
        print_json(
            {
                **asdict(record),
                "damage": damage,
                "holds": holds and asdict(holds),
                "ancestors": line,
                "gate": gate and asdict(gate),
                "manifest": manifest,
                "history": [_plain(event) for event in events],
            }
        )
    else:
        print_facts(_facts(record, holds, line, gate, manifest))
        _show_history(events, record.prompt_id)
    if damage:
        say(f"Error: {damage}\n  what to do: docs/registry.md, or modctl doctor")
        raise SystemExit(ConfigurationError.exit_code)


def _show_history(events: list[Event], prompt_id: PromptId) -> None:
    if events:
        click.echo("\nhistory")
    for event in events:
        told = f"  {local_time(event.created_at)}  {_happened(event, prompt_id)}, by {event.actor}"
        click.echo(told + (f": {event.reason}" if event.reason else ""))


def _holds(wiring: Wiring, prompt_id: PromptId) -> tuple[PromptContents | None, str]:
    """What it holds, or what is wrong with its bytes: the rest can be told all the same."""
    from moderation.flows.registry.prompt import contents

    try:
        return contents(wiring.prompts.blob(prompt_id)), ""
    except ConfigurationError as error:
        return None, error.problem


def _manifest(wiring: Wiring, prompt_id: PromptId) -> dict[str, Any] | None:
    from moderation.domain.lesson import Side, unpack

    packed = wiring.prompts.manifest(prompt_id)
    if packed is None:
        return None
    try:
        lessons = unpack(packed)
    except ValueError as error:
        return {"bytes": len(packed), "problem": str(error)}
    return {
        "bytes": len(packed),
        "lessons": len(lessons),
        **{side.value: sum(lesson.side is side for lesson in lessons) for side in Side},
    }


def _facts(
    record: PromptRecord,
    holds: PromptContents | None,
    line: list[PromptId],
    gate: GateState | None,
    manifest: dict[str, Any] | None,
) -> dict[str, str]:
    facts = described(holds) if holds else {"made from": "not readable"}
    return {
        "id": record.prompt_id,
        "name": record.name,
        "state": record.state,
        "sha256": record.sha256,
        "parent": " <- ".join(line) if line else f"none registered; made from: {facts['made from']}",
        "registered": local_time(record.created_at),
        "activated": local_time(record.activated_at) or "never",
        "training run": _gate_told(gate, record.prompt_id),
        "manifest": _manifest_told(manifest),
        **{title: value for title, value in facts.items() if title != "made from"},
        **{f"  {name}": value for name, value in flattened(record.metrics) if name != "parent"},
    }


def _gate_told(gate: GateState | None, prompt_id: PromptId) -> str:
    if gate is None:
        return "none, so no gate"
    said = "passed" if gate.passed else "REFUSED"
    why = f": {'; '.join(gate.reasons)}" if gate.reasons else ""
    return f"{gate.run_id}, its gate {said} {gate.what(prompt_id)} against {gate.against}{why}"


def _manifest_told(manifest: dict[str, Any] | None) -> str:
    if manifest is None:
        return "none: what it was tuned on is not known"
    if "problem" in manifest:
        return f"can't be read: {manifest['problem']}"
    sides = f"{manifest['train']} to train, {manifest['val']} to validate, {manifest['holdout']} held out"
    return f"{counted(manifest['lessons'], 'picture')} ({sides}), {manifest['bytes']:,} bytes"


def _happened(event: Event, prompt_id: PromptId) -> str:
    told = event.payload
    other, before = told.get("prompt"), told.get("before")
    if other != prompt_id:
        became = {"prompt.rollback": "rolled back, to", "prompt.shadow": "as shadow replaced by"}
        return f"{became.get(event.kind, 'replaced by')} {other}"
    instead = f" in the place of {before}" if before else ""
    forced = f", though the gate of run {told.get('refused_by_run')} refused it" if told.get("forced") else ""
    words = {
        "prompt.register": "registered",
        "prompt.mend": "its damaged bytes were mended by an import",
        "prompt.activate": f"activated{instead}{forced}",
        "prompt.rollback": f"activated again, back from {before}",
        "prompt.shadow": f"made the shadow{instead}",
        "prompt.unshadow": "the shadow no more",
    }
    return words.get(event.kind, event.kind)


def _plain(event: Event) -> dict[str, Any]:
    return {
        "seq": event.seq, "kind": event.kind, "actor": event.actor, "reason": event.reason,
        "created_at": event.created_at, "payload": dict(event.payload),
    }  # fmt: skip
