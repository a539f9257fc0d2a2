"""modctl tune: a pseudo-word tuned on labelled pictures."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from moderation.cli.shared import (
    confirm,
    console,
    counted,
    json_option,
    load_prompt,
    parts,
    print_facts,
    print_json,
    say,
    yes_option,
)
from moderation.errors import ConfigurationError, SchemaMismatch, ServiceDown

if TYPE_CHECKING:
    from moderation.detector import SoftPrompt
    from moderation.domain.prompt import PromptId, PromptRecord
    from moderation.flows.tuned import Bench, Tuned
    from moderation.flows.tuning_data import TuningData
    from moderation.training.plan import Precision, TunePlan
    from moderation.wiring import Wiring

_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_SEVERAL = ("--real", "--fake")
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
@click.option("--epochs", type=click.IntRange(1), help="[about 400 steps, 2 to 200 epochs]")
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
    from moderation.training.plan import TunePlan
    from moderation.training.progress import check_tensorboard

    asked = {name: value for name, value in options.items() if value is not None}
    _check_sources(real, fake, manifest, val, resume, cache=cache, no_cache=no_cache)
    if tensorboard:
        check_tensorboard()
    if resume is not None:
        run, plan = _resumed(resume, asked | ({"recipe": recipe} if recipe else {}))
    else:
        run, plan = None, TunePlan.paper(**asked) if recipe == "paper" else TunePlan(**asked)
    with ExitStack() as stack:
        plan, wiring = _machine(plan, stack, exact=run is not None)
        given, parent = _start(plan, wiring)
        bench = _bench(wiring, stack, None if no_cache else cache or _cache_folder(), tensorboard=tensorboard)
        if run is None:
            from moderation.flows.tune import begin, fill, prospect
            from moderation.flows.tuning_data import gather

            data = gather(real=real, fake=fake, manifest=manifest, val=val, seed=plan.seed)
            plan = fill(plan, wiring.backbone, len(data.train))
            coming = prospect(plan, data, wiring.backbone)
            _show(plan, data, coming, asked, dry_run=dry_run, as_json=as_json)
            if dry_run:
                return
            confirm("Tune?", yes=yes)
            run = begin(plan, data, bench, out, datetime.now(UTC), command=_command_line(), given=given, parent=parent)
        elif dry_run:
            raise click.UsageError("--dry-run shows a new run's plan; with --resume see plan.json in its folder")
        else:
            run.log("resumed", command=_command_line())
        from moderation.flows.tune import go

        say(f"run: {run.path}")
        tuned = go(run, bench, given)
        record = None if no_register else _register(wiring, tuned, plan.name)
    _print(tuned, record, plan, as_json=as_json, no_register=no_register)


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


def _resumed(path: Path, asked: Mapping[str, Any]) -> Any:
    """The run's folder and its plan, which what was asked must not contradict."""
    from moderation.training.run import RunFolder, check_same

    run = RunFolder.open(path)
    plan = run.facts().plan
    check_same(plan, asked)
    run.images()  # refuses changed data before a backbone is loaded
    return run, plan


def _machine(plan: TunePlan, stack: ExitStack, *, exact: bool) -> tuple[TunePlan, Wiring]:
    """The parts, with the backbone in the precision that the plan says or gets here."""
    from dataclasses import replace

    from moderation.detector.device import choose_device, choose_dtype
    from moderation.settings import load_settings

    settings = load_settings()
    device = choose_device(settings.device)
    dtype = str(choose_dtype(settings.dtype, device)).removeprefix("torch.")
    named = next(name for name, known in _DTYPES.items() if known == dtype)
    precision = plan.precision or named
    if precision == "fp16" and device.type != "cuda":
        if exact:
            raise ConfigurationError("MODERATION_DEVICE", f"the run began in fp16 on CUDA; this is {device.type}")
        say(f"precision: fp16 needs CUDA and this is {device.type}; tuning in fp32")
        precision = "fp32"
    wiring = stack.enter_context(parts(dtype=_DTYPES[precision]))
    return replace(plan, precision=cast("Precision", precision)), wiring


def _start(plan: TunePlan, wiring: Wiring) -> tuple[SoftPrompt | None, PromptId | None]:
    """The prompt that --init names, and its id if it is a registered one."""
    kind, _, value = plan.init.partition(":")
    if kind != "prompt":
        return None, None
    from moderation.detector import SoftPrompt

    if Path(value).is_file():
        prompt = load_prompt(Path(value))
        try:
            return prompt, wiring.prompts.find(prompt.sha256).prompt_id
        except (ConfigurationError, ServiceDown):
            return prompt, None  # a file needs no registry
    try:
        record = wiring.prompts.find(value)
    except ConfigurationError as error:
        raise ConfigurationError("--init", f"{value!r} is no file, and {error.problem}", hint=error.hint) from None
    return SoftPrompt.from_bytes(wiring.prompts.blob(record.prompt_id), sha256=record.sha256), record.prompt_id


def _bench(wiring: Wiring, stack: ExitStack, cache: Path | None, *, tensorboard: bool) -> Bench:
    from moderation.flows.tuned import Bench
    from moderation.images import decode
    from moderation.training.progress import Interrupt

    settings, size = wiring.settings, wiring.backbone.image_size
    turned = "exif" if settings.exif_orientation else "stored"
    return Bench(
        backbone=wiring.backbone,
        decode=lambda data: decode(
            data, max_pixels=settings.max_image_pixels, exif_orientation=settings.exif_orientation
        )[0],
        readers=stack.enter_context(ThreadPoolExecutor(settings.fetch_threads, thread_name_prefix="read")),
        preparation=f"shorter side {size} bicubic, centre crop, {turned} orientation",
        console=console(stderr=True),
        say=say,
        interrupt=Interrupt(say),
        cache=cache,
        tensorboard=tensorboard,
    )


def _cache_folder() -> Path:
    from moderation.training.cache import default_folder

    return default_folder()


def _command_line() -> str:
    import shlex

    return shlex.join(["modctl", *sys.argv[1:]])


def _show(
    plan: TunePlan,
    data: TuningData,
    coming: Mapping[str, Any],
    asked: Mapping[str, Any],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """The plan: on standard output if it is what was asked for, else as talk."""
    if as_json:
        if dry_run:
            print_json(dict(coming))
        return
    facts = _facts(plan, data, coming, asked)
    if dry_run:
        print_facts(facts)
    else:
        width = max(map(len, facts))
        for name, value in facts.items():
            say(f"{name:<{width}}  {value}")


def _facts(plan: TunePlan, data: TuningData, coming: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, str]:
    from moderation.training.cache import human_bytes
    from moderation.training.plan import PAPER, option

    facts = {"name": plan.name, "backbone": f"{coming['backbone']} at {coming['revision'][:12]}"}
    if plan.recipe == "paper":
        kept = [f"{option(name)} {getattr(plan, name)}" for name in PAPER if name not in asked]
        facts["the paper's"] = " ".join(kept)
        facts["given beside it"] = " ".join(f"{option(name)} {value}" for name, value in asked.items()) or "nothing"
    for half, counts in data.counts().items():
        for what, found in counts.items():
            facts[f"{half} by {what}"] = ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
    if data.left_out:
        facts["left out"] = f"{counted(data.left_out, 'picture')} kept for testing, or for validation elsewhere"
    facts |= {
        "method": "LoRA"
        if plan.method == "lora"
        else f"{plan.position}, sides {plan.sides}, tokens {plan.tokens}, members {plan.members}, init {plan.init}",
        "steps": f"{plan.epochs} epochs of {coming['steps_per_epoch']} steps, batches of {plan.batch_size}"
        + (f", {plan.members} members" if plan.members > 1 else ""),
        "learning": f"loss {plan.loss}, lr {plan.lr:g} {plan.schedule}, weight decay {plan.weight_decay:g}, "
        f"augment {plan.augment}, {plan.precision}, seed {plan.seed}",
        "features": f"{human_bytes(coming['feature_bytes'])} for {counted(coming['features_kept'], 'picture')}",
    }
    return facts


def _register(wiring: Wiring, tuned: Tuned, name: str) -> PromptRecord | None:
    """Adds the prompt to the registry; None, with a word about it, where there is none or nothing to add."""
    from moderation.flows.tuned import enter

    if tuned.prompt is None:
        say("not registered: a LoRA adapter is a baseline to compare with, not a prompt")
        return None
    try:
        return enter(wiring.prompts, tuned, name)
    except (SchemaMismatch, ServiceDown) as error:
        say(f"not registered: {error}")
        say(f"  when the database is there: modctl prompt import {tuned.artefact} --name {name}")
        return None


def _print(tuned: Tuned, record: PromptRecord | None, plan: TunePlan, *, as_json: bool, no_register: bool) -> None:
    if as_json:
        print_json(
            {
                "name": plan.name,
                "prompt_id": record.prompt_id if record else None,
                "state": record.state if record else None,
                "sha256": tuned.prompt.sha256 if tuned.prompt else None,
                "artefact": str(tuned.artefact),
                "run": str(tuned.run),
                "report": str(tuned.report),
                "ended": list(tuned.ended),
                "validation": tuned.metrics,
                "notes": list(tuned.notes),
            }
        )
        return
    if "interrupted" in tuned.ended:
        say("stopped on request: this is the best so far")
    metrics = tuned.metrics
    facts = {
        "prompt" if tuned.prompt else "adapter": f"{record.prompt_id} ({plan.name}), {record.state}" if record
        else f"{plan.name}, not registered" + (", as asked" if no_register else ""),
        "file": str(tuned.artefact),
        "validation": f"AUC {metrics['auc']:.3f}, balanced accuracy {metrics['balanced_accuracy']:.3f} "
        f"(real {metrics['accuracy_real']:.3f}, fake {metrics['accuracy_fake']:.3f}), loss {metrics['loss']:.4f}, "
        f"{metrics['n_real']} real and {metrics['n_fake']} fake",
        "calibration": "; ".join(tuned.notes) or "fitted",
        "report": str(tuned.report),
    }  # fmt: skip
    print_facts(facts)
