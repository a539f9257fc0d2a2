"""modctl prompt import and export: prompts as files, ours and the original code's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from moderation.cli.prompt.activation import ask, is_refused, warn_of_refusal
from moderation.cli.prompt.answers import record_answers
from moderation.cli.prompt.view import CHECKPOINTS, described, named_file
from moderation.cli.shared import (
    actor_option,
    by_whom,
    json_option,
    load_prompt,
    parts,
    print_json,
    reason_option,
    say,
    yes_option,
)
from moderation.domain.prompt import prompt_id_of
from moderation.errors import ConfigurationError, PromptMismatch

if TYPE_CHECKING:
    from moderation.detector import SoftPrompt
    from moderation.domain.lesson import Lesson
    from moderation.domain.prompt import PromptId
    from moderation.flows.registry.prompt import PromptContents
    from moderation.storage.events import By
    from moderation.wiring import Wiring

_FORMATS = {"safetensors": "ours", "original": "the original code's format"}
_ZIP = b"PK\x03\x04"  # what torch.save writes begins so


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="What to call it; the file's name if not given.")
@click.option("--activate", "make_active", is_flag=True, help="Make it the active prompt of its backbone.")
@click.option("--no-check", is_flag=True, help="Do not load the backbone to see that the prompt fits.")
@click.option("--manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="CSV or Parquet: pictures it was tuned on (path, label, split, ...), for retraining.")  # fmt: skip
@click.option("--question", metavar="TEXT", help="What a checkpoint asks, if its config was stripped: with one [*].")
@click.option("--normalisation", metavar="150k|150k-lama|clip|R,G,B/R,G,B",
              help="Its statistics, if its config was stripped: a name, or means/deviations.")  # fmt: skip
@reason_option
@actor_option
@yes_option
@json_option
def import_(
    file: Path,
    name: str | None,
    make_active: bool,
    no_check: bool,
    manifest: Path | None,
    question: str | None,
    normalisation: str | None,
    reason: str,
    actor: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Register a prompt from FILE: one of ours (.safetensors) or a checkpoint of the original code (.pth).

    No code in the file is run. What was found in it, and what was left aside, goes to standard error. A prompt that is
    registered already is given the --manifest that it lacks.
    """
    from moderation.flows.registry.prompt import contents, known_parent, register
    from moderation.flows.tuning.manifest import lessons_in

    lessons = lessons_in(manifest) if manifest else []

    with parts() as wiring:
        notes: list[str] = []
        warnings: list[str] = []
        if _is_checkpoint(file):
            prompt, notes, warnings = _original(file, wiring, question, normalisation, by_name=no_check)
        elif question or normalisation:
            raise click.UsageError("--question and --normalisation are for checkpoints: a prompt file holds its own")
        else:
            prompt = load_prompt(file)
        blob = prompt.to_bytes()
        holds = contents(blob)
        _tell(file, holds, notes, warnings)
        if not no_check:
            _check(file, prompt, wiring)
        parent, shown = known_parent(wiring.prompts, prompt.metadata), None
        gate = wiring.prompt_states.foreseen(blob, parent)
        if make_active and not is_refused(gate):  # else the activation below says why, and names a registered prompt
            shown = ask(
                wiring, prompt_id_of(prompt.sha256), name or file.stem, prompt.backbone, gate,
                yes=yes, question="Register and activate it?",
            )  # fmt: skip
        by = by_whom(wiring, actor, reason or f"imported from {file.name}")
        record = register(wiring.prompts, blob, name=name or file.stem, parent=parent, by=by)
        if lessons:
            _give_manifest(wiring, record.prompt_id, lessons, by)
        if not no_check:
            record_answers(wiring, record.prompt_id)
        if make_active:
            wiring.prompt_states.activate(record.prompt_id, shown=shown, by=by)
            record = wiring.prompts.find(record.prompt_id)
        else:
            warn_of_refusal(gate, record.prompt_id)
    if as_json:
        print_json({**asdict(record), "holds": asdict(holds), "notes": notes, "warnings": warnings})
    else:
        click.echo(f"{record.prompt_id} ({record.name}) is registered as {record.state}.")


@click.command()
@click.argument("prompt", metavar="ID|FILE")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(("safetensors", "original")),
              help="Ours or the original code's; if not given, by the end of OUT (.pth: the original's).")  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite OUT.")
@json_option
def export(prompt: str, out: Path, form: str | None, force: bool, as_json: bool) -> None:
    """Write a prompt, registered or in a file, to the file OUT.

    Ours is byte for byte what is registered. The original's format holds one vector a side, the question and the
    normalisation; what it can't hold is named.
    """
    from moderation.flows.registry.prompt import check_vacant, contents, write_file

    form = form or ("original" if out.suffix in CHECKPOINTS else "safetensors")
    check_vacant(out, force=force)
    source = named_file(prompt)
    if source is None:
        with parts() as wiring:
            blob = wiring.prompts.blob(wiring.prompts.find(prompt).prompt_id)
    else:
        blob = load_prompt(source).to_bytes()
    lost: list[str] = []
    data = blob
    if form == "original":
        data, lost = _as_original(blob)
    write_file(out, data, force=force)
    for each in lost:
        say(f"Lost: {each}")
    if as_json:
        print_json(
            {"file": str(out), "format": form, "bytes": len(data), "lost": lost, "holds": asdict(contents(blob))}
        )
    else:
        click.echo(f"{out}: {len(data)} bytes, {_FORMATS[form]}")


def _tell(file: Path, holds: PromptContents, notes: Sequence[str], warnings: Sequence[str]) -> None:
    say(f"{file.name}: {'a checkpoint of the original code' if notes else 'a prompt of this program'}")
    for line in notes or [f"{title}: {value}" for title, value in described(holds).items()]:
        say(f"  {line}")
    for warning in warnings:
        say(f"Warning: {warning}")


def _give_manifest(wiring: Wiring, prompt_id: PromptId, lessons: Sequence[Lesson], by: By) -> None:
    from moderation.domain.lesson import pack
    from moderation.storage.registry.manifests import fill_manifest

    if fill_manifest(wiring.database, prompt_id, pack(lessons), lessons=len(lessons), by=by):
        say(f"  tuned on: {len(lessons)} pictures, listed with it")
    else:
        say("Warning: what it was tuned on is known already, and stays as it is")


def _is_checkpoint(file: Path) -> bool:
    with file.open("rb") as stream:
        return file.suffix in CHECKPOINTS or stream.read(len(_ZIP)) == _ZIP


def _original(
    file: Path, wiring: Wiring, question: str | None, normalisation: str | None, *, by_name: bool
) -> tuple[SoftPrompt, list[str], list[str]]:
    """The prompt, what was found in the file, and what to be warned of.

    by_name: the backbone is not loaded; the settings' names of it and of the language model count.
    """
    from moderation.detector.checkpoint import read_original
    from moderation.detector.checkpoint_config import normalisation_named

    try:
        statistics = normalisation_named(normalisation) if normalisation else None
    except ValueError as error:
        raise click.UsageError(f"--normalisation {error}") from None
    checkpoint = read_original(file, question=question, normalisation=statistics)
    settings = wiring.settings
    swapped = f"+{settings.language_model}" if settings.language_model else ""
    backbone = f"{settings.backbone}{swapped}" if by_name else wiring.backbone.name
    epoch = [] if checkpoint.epoch is None else [f"epoch: {checkpoint.epoch}"]
    notes = [*checkpoint.notes, *epoch, checkpoint.compared(backbone)]
    return checkpoint.to_prompt(backbone), notes, checkpoint.warnings(backbone)


def _check(file: Path, prompt: SoftPrompt, wiring: Wiring) -> None:
    try:
        prompt.check_fits(wiring.backbone)
    except PromptMismatch as error:
        hint = "set MODERATION_BACKBONE to the one it was tuned on, or register it unchecked: --no-check"
        raise ConfigurationError(str(file), f"it does not fit: {error.problem}", hint=hint) from None


def _as_original(blob: bytes) -> tuple[bytes, list[str]]:
    from moderation.detector import SoftPrompt
    from moderation.detector.checkpoint_export import lost_in_original, write_original

    prompt = SoftPrompt.from_bytes(blob)
    return write_original(prompt), lost_in_original(prompt)
