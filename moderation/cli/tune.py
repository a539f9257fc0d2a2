"""modctl tune: a pseudo-word tuned on labelled pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moderation.cli.extras import check_training
from moderation.cli.prompt.answers import record_answers
from moderation.cli.shared import by_whom, confirm, json_option, say, yes_option
from moderation.cli.tune_parts import cache_folder, command_line, going_on, machine, starting_prompt, workbench
from moderation.cli.tune_view import print_outcome, show_plan
from moderation.errors import SchemaMismatch, ServiceDown

if TYPE_CHECKING:
    from moderation.detector import SoftPrompt
    from moderation.domain.prompt import PromptId, PromptRecord
    from moderation.flows.tuning.data import TuningData
    from moderation.flows.tuning.tuned import Bench, Tuned
    from moderation.training.plan import TunePlan
    from moderation.training.run import RunFolder
    from moderation.wiring import Wiring

_SEVERAL = ("--real", "--fake")
_EXIF = (
    "Warning: pictures are turned as their EXIF orientation says, which the paper's code does not do; "
    "to the letter: MODERATION_EXIF_ORIENTATION=false"
)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


class Several(click.Command):
    """Takes several values after --real and --fake, as in `--real A B`, besides `--real A --real B`."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        option = ""
        for place, word in enumerate(args):
            if word.startswith("-"):
                option = word if word in _SEVERAL else ""
            elif option and args[place - 1] != option:
                spread.append(option)
            spread.append(word)
        return super().parse_args(context, spread)


def _choice(*names: str) -> click.Choice[str]:
    return click.Choice(names)


@click.command(cls=Several)
@click.option("--real", multiple=True, type=FOLDER, metavar="DIR...", help="Folders of real pictures.")
@click.option("--fake", multiple=True, type=FOLDER, metavar="DIR...", help="Folders of fake pictures.")
@click.option("--manifest", type=FILE, help="CSV or Parquet instead: path, label, generator, source, split.")
@click.option("--val", metavar="SHARE|FILE|ROOT", help="Validation: a share of the source pictures, a manifest, or a "
              "folder ROOT/<set>/{real,fake}. If not given: the manifest's `val`, else 0.1.")  # fmt: skip
@click.option("--recipe", type=_choice("default", "paper"), help="paper: the authors' settings to the letter; options "
              "given beside it still count.")  # fmt: skip
@click.option("--name", help="What to call the prompt and the run. [tuned]")
@click.option("--method", type=_choice("prompt", "lora"), help="lora: the paper's baseline. [prompt]")
@click.option("--position", type=_choice("prefix", "postfix", "replace"), help="The pseudo-word's place. [postfix]")
@click.option("--sides", type=_choice("both", "qformer", "llm"), help="Which side gets vectors. [both]")
@click.option("--tokens", type=click.IntRange(1, 16), help="Vectors a side. [1]")
@click.option("--init", metavar="random|word:W|prompt:ID", help="Where they start; ID may be a file. [random]")
@click.option("--loss", type=_choice("answer", "margin"), help="answer: the paper's, over answer and EOS; margin: yes "
              "against no, classes balanced. [margin]")  # fmt: skip
@click.option("--augment", type=_choice("none", "paper", "robust"), help="paper: random crop and flip; robust: also "
              "JPEG, resize, blur, alike for both classes. [none]")  # fmt: skip
@click.option("--normalisation", metavar="dataset|clip|R,G,B/R,G,B", help="Mean and deviation by channel. [dataset]")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the training pictures, each with a "
              "validation. [about 400 steps in at most 40 validations]")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(1), help="Pictures a step. [32]")
@click.option("--lr", type=float, help="The highest learning rate. [as suits the backbone]")
@click.option("--schedule", type=_choice("paper", "onecycle", "cosine", "constant"), help="[onecycle]")
@click.option("--weight-decay", type=float, help="[0.05]")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="[42]")
@click.option("--patience", type=click.IntRange(1), help="Epochs without a lower validation loss before it stops.")
@click.option("--precision", type=_choice("fp32", "bf16", "fp16"), help="[as MODERATION_DTYPE says]")
@click.option("--members", type=click.IntRange(1, 16), help="Words tuned from different seeds, averaged. [1]")
@click.option("--expert", is_flag=True, default=None, help="Train a pixel expert beside the word.")
@click.option("--crops", type=click.IntRange(0, 16), help="Native crops that the prompt looks at when unsure. [0]")
@click.option("--crop-pool", type=_choice("mean", "max"), help="How their margins are pooled. [mean]")
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Where vision features are kept. [the user's cache folder]")  # fmt: skip
@click.option("--no-cache", is_flag=True, help="Keep no features on disk.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs"), show_default=True,
              metavar="RUNS_DIR", help="Where the run's folder is made.")  # fmt: skip
@click.option("--resume", type=FOLDER, metavar="RUN", help="Go on with this run from its last finished epoch.")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard logs into the run's folder.")
@click.option("--no-register", is_flag=True, help="Do not add the prompt to the registry.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@yes_option
@json_option
def command(
    real: tuple[Path, ...],
    fake: tuple[Path, ...],
    manifest: Path | None,
    val: str | None,
    recipe: str | None,
    cache: Path | None,
    no_cache: bool,
    out: Path,
    resume: Path | None,
    tensorboard: bool,
    no_register: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Tune a pseudo-word on labelled pictures, calibrate it, and register it as a candidate.

    The backbone stays frozen. Ctrl-C keeps the best so far; a run that was killed goes on with --resume.
    """
    check_training()
    from moderation.flows.tuning.tune import go
    from moderation.training.plan import TunePlan
    from moderation.training.progress import check_tensorboard

    asked = {name: value for name, value in options.items() if value is not None}
    _check_sources(real, fake, manifest, val, resume, cache=cache, no_cache=no_cache)
    if tensorboard:
        check_tensorboard()
    run, data = None, None
    if resume is not None:
        if dry_run:
            raise click.UsageError("--dry-run shows a new run's plan; with --resume see plan.json in its folder")
        run, plan = _resumed(resume, asked | ({"recipe": recipe} if recipe else {}))
    else:
        from moderation.flows.tuning.data import gather

        plan = TunePlan.paper(**asked) if recipe == "paper" else TunePlan(**asked)
        data = gather(real=real, fake=fake, manifest=manifest, val=val, seed=plan.seed)
    with ExitStack() as stack:
        plan, wiring = machine(plan, stack, exact=resume is not None)
        given, parent = starting_prompt(plan, wiring)
        bench = workbench(wiring, stack, None if no_cache else cache or cache_folder(), tensorboard=tensorboard)
        if data is not None:
            if plan.recipe == "paper" and wiring.settings.exif_orientation:
                say(_EXIF)
            run = _new(plan, data, bench, out, asked, given, parent, dry_run=dry_run, yes=yes, as_json=as_json)
        if run is None:
            return
        say(f"run: {run.path}")
        run.log("started", command=command_line())
        with going_on(run.path):
            tuned = go(run, bench, given)
        record = None if no_register else _register(wiring, tuned, plan.name)
    print_outcome(tuned, record, plan, as_json=as_json, no_register=no_register)


def _new(
    plan: TunePlan,
    data: TuningData,
    bench: Bench,
    out: Path,
    asked: Mapping[str, Any],
    given: SoftPrompt | None,
    parent: PromptId | None,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> RunFolder | None:
    """Shows the plan and makes the run's folder; None if it was only to be shown."""
    from moderation.flows.tuning.tune import begin, check_start, fill, prospect

    plan = fill(plan, bench.backbone, len(data.train))
    check_start(plan, bench.backbone, given)
    show_plan(plan, data, prospect(plan, data, bench.backbone), asked, dry_run=dry_run, as_json=as_json)
    if dry_run:
        return None
    confirm("Tune?", yes=yes)
    return begin(plan, data, bench, out, datetime.now(UTC), command=command_line(), given=given, parent=parent)


def _check_sources(
    real: Sequence[Path],
    fake: Sequence[Path],
    manifest: Path | None,
    val: str | None,
    resume: Path | None,
    *,
    cache: Path | None,
    no_cache: bool,
) -> None:
    if cache and no_cache:
        raise click.UsageError("--cache DIR or --no-cache, not both")
    if resume is not None:
        if real or fake or manifest or val:
            raise click.UsageError("--resume takes its pictures from the run: leave the others out")
    elif manifest is not None:
        if real or fake:
            raise click.UsageError("--manifest or --real and --fake, not both")
    elif not (real and fake):
        raise click.UsageError("give --real DIR and --fake DIR, or --manifest FILE, or --resume RUN")


def _resumed(path: Path, asked: Mapping[str, Any]) -> tuple[RunFolder, TunePlan]:
    """The run's folder and its plan, which what was asked must not contradict."""
    from moderation.training.run import RunFolder
    from moderation.training.state import check_same

    run = RunFolder.open(path)
    plan = run.facts().plan
    check_same(plan, asked)
    run.images()  # refuses changed data before a backbone is loaded
    return run, plan


def _register(wiring: Wiring, tuned: Tuned, name: str) -> PromptRecord | None:
    """Adds the prompt to the registry; None, with a word about it, where there is none or nothing to add."""
    from moderation.flows.tuning.tuned import enter

    if tuned.prompt is None:
        say("not registered: a LoRA adapter is a baseline to compare with, not a prompt")
        return None
    try:
        record = enter(wiring.prompts, tuned, name, by_whom(wiring, "", f"tuned in {tuned.run.name}"))
    except (SchemaMismatch, ServiceDown) as error:
        say(f"not registered: {error}")
        listed = tuned.run / "manifest.csv"
        say(f"  when the database is there: modctl prompt import {tuned.artefact} --name {name} --manifest {listed}")
        return None
    record_answers(wiring, record.prompt_id)
    return record
