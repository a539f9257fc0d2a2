"""modctl prompt calibrate: probabilities that mean what they say, fitted on labelled pictures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moderation.cli.extras import check_training
from moderation.cli.prompt.activation import ask, is_refused, warn_of_refusal
from moderation.cli.prompt.answers import record_answers
from moderation.cli.prompt.labelled import Chosen, Prevalence, read_labelled
from moderation.cli.prompt.view import bar, named_file, registered
from moderation.cli.shared import (
    actor_option,
    by_whom,
    counted,
    json_option,
    load_prompt,
    parts,
    print_json,
    print_table,
    reason_option,
    say,
    yes_option,
)
from moderation.domain.prompt import prompt_id_of
from moderation.errors import ConfigurationError, PromptMismatch

if TYPE_CHECKING:
    from moderation.detector import SoftPrompt
    from moderation.flows.tuning.calibrate import Calibrated
    from moderation.storage.events import By
    from moderation.wiring import Wiring

_FIGURES = (("ECE", "ece"), ("NLL", "nll"), ("Brier", "brier"))
_NAMED = 3  # pictures that could not be scored are named, as many as this


@dataclass(frozen=True)
class _How:
    """What to fit on and how. prevalence None: as labelled."""

    data: Chosen
    prevalence: float | None
    by_source: bool


@click.command()
@click.argument("prompt", metavar="ID|FILE")
@click.option("--data", type=click.Path(path_type=Path), metavar="ROOT",
              help="Pictures in ROOT/<set>/real and ROOT/<set>/fake.")  # fmt: skip
@click.option("--manifest", type=click.Path(path_type=Path), metavar="FILE",
              help="A CSV or Parquet file instead: path, label, and if known source, split, group.")  # fmt: skip
@click.option("--split", type=click.Choice(("train", "val", "test", "all")),
              help="Only pictures of this split; val if not given, where the data name splits.")  # fmt: skip
@click.option("--prevalence", type=Prevalence(), default="0.5", show_default=True, metavar="P|data",
              help="The share of fakes among uploads, to weigh the classes to; 'data': as labelled.")  # fmt: skip
@click.option("--no-source-bias", is_flag=True, help="One curve for all sources.")
@click.option("--name", help="What to call the new prompt.")
@click.option("--activate", "make_active", is_flag=True, help="Make it the active prompt of its backbone.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE",
              help="For a prompt FILE: where the new one goes; FILE.calibrated.safetensors if not given.")  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite that file.")
@reason_option
@actor_option
@yes_option
@json_option
def calibrate(
    prompt: str,
    data: Path | None,
    manifest: Path | None,
    split: str | None,
    prevalence: float | str,
    no_source_bias: bool,
    name: str | None,
    make_active: bool,
    out: Path | None,
    force: bool,
    reason: str,
    actor: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Fit P(fake) on labelled pictures the tuning has not seen, best from other generators. Makes a new candidate.

    The prompt itself stays as it is. Exit code 4 if there are too few labels, or if fakes do not score higher.
    """
    check_training()
    from moderation.flows.registry.prompt import check_vacant
    from moderation.flows.tuning.calibrate import check_labels

    if (data is None) == (manifest is None):
        raise click.UsageError("name the pictures: either --data ROOT or --manifest FILE")
    file = named_file(prompt)
    if file is None and (out is not None or force):
        raise click.UsageError("--out and --force are for a prompt FILE; a registered one is written by: prompt export")
    if file is not None and (name is not None or make_active):
        raise click.UsageError("--name and --activate are for a registered prompt: import the file first")
    target = None if file is None else out or file.with_suffix(".calibrated.safetensors")
    if target is not None:
        check_vacant(target, force=force)
    found = read_labelled(data, manifest, split)
    check_labels(found.images)
    how = _How(found, None if isinstance(prevalence, str) else prevalence, by_source=not no_source_bias)
    with parts() as wiring:
        if file is not None and target is not None:
            told = _in_file(wiring, file, target, how, force=force, as_json=as_json)
        else:
            by = by_whom(wiring, actor, reason or f"calibrated on {(data or manifest)}")
            told = _in_registry(
                wiring, prompt, how, name=name, make_active=make_active, by=by, yes=yes, as_json=as_json
            )
    if as_json:
        print_json(told)


def _in_file(wiring: Wiring, file: Path, target: Path, how: _How, *, force: bool, as_json: bool) -> dict[str, Any]:
    from moderation.flows.registry.prompt import write_file

    done = _calibrate(wiring, str(file), load_prompt(file), how)
    told = _told(done, as_json=as_json)
    write_file(target, done.prompt.to_bytes(), force=force)
    if not as_json:
        click.echo(f"{target} holds the calibrated prompt; to register it: modctl prompt import {target}")
    return {**told, "file": str(target)}


def _in_registry(
    wiring: Wiring,
    prompt: str,
    how: _How,
    *,
    name: str | None,
    make_active: bool,
    by: By,
    yes: bool,
    as_json: bool,
) -> dict[str, Any]:
    from moderation.flows.registry.prompt import register

    parent = wiring.prompts.find(prompt)
    done = _calibrate(wiring, parent.prompt_id, registered(wiring, parent), how)
    told = _told(done, as_json=as_json)
    blob, new_name, shown = done.prompt.to_bytes(), name or f"{parent.name} calibrated", None
    gate = wiring.prompt_states.foreseen(blob, parent.prompt_id)
    if make_active and not is_refused(gate):  # else the activation below says why, and names a registered prompt
        new_id = prompt_id_of(done.prompt.sha256)
        shown = ask(wiring, new_id, new_name, done.prompt.backbone, gate, yes=yes, question="Register and activate it?")
    record = register(wiring.prompts, blob, name=new_name, parent=parent.prompt_id, by=by)
    record_answers(wiring, record.prompt_id)
    if make_active:
        wiring.prompt_states.activate(record.prompt_id, shown=shown, by=by)
        record = wiring.prompts.find(record.prompt_id)
    else:
        warn_of_refusal(gate, record.prompt_id)
    if not as_json:
        click.echo(
            f"{record.prompt_id} ({record.name}), made from {parent.prompt_id}, is registered as {record.state}."
        )
        say(f"Its reliability diagram, on data neither saw: modctl eval --prompt {record.prompt_id} --data ROOT")
    return {**told, **asdict(record)}


def _calibrate(wiring: Wiring, setting: str, prompt: SoftPrompt, how: _How) -> Calibrated:
    from moderation.flows.tuning.calibrate import Means, calibrate, passes, seen_in_tuning

    images = how.data.images
    if seen_in_tuning(prompt, how.data.hashes):
        say(
            "Warning: the prompt was tuned on this data, where it is better than elsewhere, so P(fake) will be too "
            "sure of itself. Calibrate on pictures, best of generators, that the tuning has not seen."
        )
    say(f"backbone {wiring.backbone.name}, {counted(len(images), 'picture')}, split {how.data.facts['split']}")
    if passes(prompt) > 1:
        say("scoring twice: which crops are looked at depends on P(fake)")
    settings = wiring.settings
    total = len(images) * passes(prompt)
    with ThreadPoolExecutor(settings.fetch_threads) as readers, bar(total) as advance:
        means = Means(wiring.backbone, wiring.prepare, readers, settings.batch_size, advance)
        try:
            return calibrate(
                images, prompt, means, prevalence=how.prevalence, by_source=how.by_source, data=how.data.facts
            )
        except PromptMismatch as error:
            raise ConfigurationError(setting, f"it does not fit: {error.problem}", hint=error.hint) from None


def _told(done: Calibrated, *, as_json: bool) -> dict[str, Any]:
    """The figures as JSON; printed for people unless JSON was asked for."""
    fitted = done.fitted
    told = {
        "calibration": done.prompt.calibration.described,
        "source_bias": dict(done.prompt.calibration.source_bias),
        "figures": fitted.to_json(),
        "unscored": [one.path for one in done.unscored],
    }
    if done.unscored:
        names = ", ".join(Path(one.path).name for one in done.unscored[:_NAMED])
        more = f" and {len(done.unscored) - _NAMED} more" if len(done.unscored) > _NAMED else ""
        say(f"left out, could not be scored: {counted(len(done.unscored), 'picture')} ({names}{more})")
    if not as_json:
        after = "after (held out)" if fitted.held_out else "after (not held out)"
        figures = [(name, getattr(fitted.before, key), getattr(fitted.after, key)) for name, key in _FIGURES]
        print_table(
            ("", "before", after),
            [(name, f"{old:.4f}", f"{new:.4f}") for name, old, new in figures],
            right=("before", after),
        )
        click.echo(f"on {fitted.n_real} real and {fitted.n_fake} fake; {_weighed(fitted.prevalence)}")
        click.echo(
            f"an ECE of {fitted.ece_by_chance:.4f} is chance: what a perfect calibration shows on so many labels"
        )
        click.echo(f"calibration: {told['calibration']}")
        for note in fitted.notes:
            say(note)
    return told


def _weighed(prevalence: float | None) -> str:
    return "classes as labelled" if prevalence is None else f"fakes weighed to a share of {prevalence:g}"
