"""Tune: from labelled pictures to a calibrated prompt (or a LoRA baseline) in a run's folder. It activates nothing."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from moderation.datasets.labelled import LabelledImage
from moderation.datasets.labelled import manifest_sha256 as identity_of
from moderation.detector.backbone import Backbone
from moderation.detector.preprocess import Normalisation
from moderation.detector.prompt import SoftPrompt
from moderation.domain.prompt import PromptId
from moderation.errors import ConfigurationError
from moderation.flows.tuning.data import TuningData, check_classes
from moderation.flows.tuning.tuned import Bench, Log, Member, Tuned, conclude, tell_unreadable
from moderation.training import adapter, start
from moderation.training.cache import FeatureCache, feature_bytes, feature_shape, human_bytes
from moderation.training.loader import MEMORY_BYTES, Features, Fresh, Kept, keep
from moderation.training.plan import TunePlan
from moderation.training.progress import TensorBoard, Watcher, screen
from moderation.training.reading import sample_of, statistics_of
from moderation.training.run import RunFolder
from moderation.training.state import RunFacts
from moderation.training.tune import tune
from moderation.training.validation import Trainable

_PACKAGES = ("antifake-moderation", "torch", "transformers", "numpy", "pillow")


def fill(plan: TunePlan, backbone: Backbone, pictures: int) -> TunePlan:
    """The plan with numbers for what was left open."""
    suggested = adapter.suggested_rate if plan.method == "lora" else start.suggested_rate
    return plan.filled(pictures=pictures, lr=plan.lr or suggested(backbone))


def check_start(plan: TunePlan, backbone: Backbone, given: SoftPrompt | None) -> None:
    """Refuses a start that is none before hours of work, not after. Raises ConfigurationError, PromptMismatch."""
    if plan.method == "prompt":
        start.first_numbers(backbone, plan, 0, given)


def prospect(plan: TunePlan, data: TuningData, backbone: Backbone) -> dict[str, Any]:
    """What a filled plan comes to: counts, steps, bytes of features."""
    steps = plan.iterations(len(data.train))
    kept = len(data.val) + (len(data.train) if plan.augment == "none" else 0)
    return {
        "plan": plan.to_json(),
        "backbone": backbone.name,
        "revision": backbone.revision,
        "pictures": data.counts(),
        "left_out": data.left_out,
        "manifest_sha256": identity_of([*data.train, *data.val]),
        "steps_per_epoch": steps,
        "steps": steps * (plan.epochs or 1) * plan.members,
        "feature_bytes": kept * feature_bytes(feature_shape(backbone)),
        "features_kept": kept,
    }


def begin(
    plan: TunePlan,
    data: TuningData,
    bench: Bench,
    runs: Path,
    now: datetime,
    *,
    command: str,
    given: SoftPrompt | None = None,
    parent: PromptId | None = None,
    manifest_sha256: str | None = None,
) -> RunFolder:
    """A new run's folder, ready for `go`. given: the prompt it starts from, `parent` if that is registered.

    manifest_sha256: the identity of the pictures, where it is known from elsewhere; None: as their files lie.
    """
    backbone = bench.backbone
    check_start(plan, backbone, given)
    RunFolder.make_room(runs)
    statistics = plan.statistics() or _statistics(data.train, bench, plan)
    run = RunFolder.create(runs, plan.name, now)
    facts = RunFacts(
        plan=plan,
        manifest_sha256=manifest_sha256 or identity_of([*data.train, *data.val]),
        backbone=backbone.name,
        revision=backbone.revision,
        device=str(backbone.device),
        dtype=str(backbone.dtype).removeprefix("torch."),
        mean=statistics.mean,
        std=statistics.std,
        parent=given.sha256 if given else None,
        parent_id=parent,
        command=command,
        created_at=now.isoformat(timespec="seconds"),
        versions=versions(),
    )
    run.write_facts(facts, data.train, data.val)
    return run


def go(run: RunFolder, bench: Bench, given: SoftPrompt | None = None, *, watchers: Sequence[Watcher] = ()) -> Tuned:
    """Carries a run on from where it stands, to its end. Raises ConfigurationError for what a person must mend.

    watchers: are told of every step and epoch, beside the screen; what they raise ends the run where it stands.

    A loss that is no number ends it with an error, after the best so far was written into the folder.
    """
    facts, (train, val) = run.facts(), run.images()
    _check_same(facts, bench, given)
    training, validation = _features(facts, train, val, bench)
    for name, pictures in (("training data", training), ("--val", validation)):
        check_classes(pictures.images, name, "use that can be read")
    members = _tune_all(run, facts, training, validation, bench, given, watchers)
    if facts.plan.expert and not bench.interrupt.asked:
        training.read_all()
    for pictures in (training, validation):
        tell_unreadable(pictures, run, bench.say)
    return conclude(run, facts, members, training, validation, bench, given)


def versions() -> dict[str, str]:
    """What the result may depend on besides data and plan."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def _statistics(images: Sequence[LabelledImage], bench: Bench, plan: TunePlan) -> Normalisation:
    """Of a sample of the training pictures; the paper's are of all."""
    chosen = images if plan.recipe == "paper" else sample_of(images, plan.seed)
    bench.say(f"normalisation: statistics of {len(chosen)} of {len(images)} training pictures")
    try:
        with bench.count("normalisation", len(chosen)) as advance:
            return statistics_of(chosen, bench.backbone.image_size, bench.decode, bench.readers, advance)
    except ValueError as error:
        raise ConfigurationError("training data", str(error)) from None


def _check_same(facts: RunFacts, bench: Bench, given: SoftPrompt | None) -> None:
    backbone = bench.backbone
    if facts.revision != backbone.revision:
        raise ConfigurationError(
            "MODERATION_BACKBONE",
            f"the run began on {facts.backbone} at revision {facts.revision}; loaded is {backbone.name} "
            f"at revision {backbone.revision}",
        )
    if (given.sha256 if given else None) != facts.parent:
        raise ConfigurationError("--init", f"{facts.plan.init} is not the prompt that the run began with")
    for name, now, then in (
        ("device", str(backbone.device), facts.device),
        *((name, found, facts.versions.get(name)) for name, found in versions().items()),
    ):
        if now != then:
            bench.say(f"Warning: {name} is {now} now and was {then}; the result may differ in its last digits")


def _features(
    facts: RunFacts, train: Sequence[LabelledImage], val: Sequence[LabelledImage], bench: Bench
) -> tuple[Features, Features]:
    plan, statistics = facts.plan, Normalisation(facts.mean, facts.std)
    if plan.augment == "none":
        return _kept(train, statistics, bench, "training"), _kept(val, statistics, bench, "validation")
    bench.say(f"augment {plan.augment}: training pictures change with every epoch, so their features are not kept")
    fresh = Fresh(train, bench.backbone, statistics, bench.decode, bench.readers, plan.augment, plan.seed)
    return fresh, _kept(val, statistics, bench, "validation")


def _kept(images: Sequence[LabelledImage], statistics: Normalisation, bench: Bench, what: str) -> Kept | Fresh:
    """The features of one half, with a word about what they take."""
    backbone, cache = bench.backbone, None
    needed = len(images) * feature_bytes(feature_shape(backbone))
    where = "in memory"
    if bench.cache is not None:
        cache = FeatureCache(bench.cache, backbone, statistics, bench.preparation)
        cache.prepare(len(images))
        where = f"in {cache.folder}"
    elif needed > MEMORY_BYTES:
        where = "nowhere: too much for memory, so the vision tower runs anew in every epoch (--cache DIR helps)"
    bench.say(f"{what}: features of {len(images)} pictures, {human_bytes(needed)} {where}")
    with bench.count(f"{what}: vision features", len(images)) as advance:
        found = keep(images, backbone, statistics, bench.decode, bench.readers, cache, advance)
    if isinstance(found, Kept) and cache is not None:
        bench.say(f"{what}: {found.reused} of {len(images)} came from the cache")
    return found


def _tune_all(
    run: RunFolder,
    facts: RunFacts,
    training: Features,
    validation: Features,
    bench: Bench,
    given: SoftPrompt | None,
    others: Sequence[Watcher],
) -> list[Member]:
    plan = facts.plan
    left = sum((plan.epochs or 1) - run.load_state(member)[0].epochs for member in range(plan.members))
    steps = plan.iterations(len(training.images)) * left
    members: list[Member] = []
    with ExitStack() as stack:
        bar = stack.enter_context(screen("tuning", steps, bench.say, bench.console, plan.members))
        watchers: list[Watcher] = [bar, Log(run), *others]
        if bench.tensorboard:
            board = TensorBoard(run.path / "tensorboard")
            stack.callback(board.close)
            watchers.append(board)
        stack.enter_context(bench.interrupt.listening())
        for number in range(plan.members):
            trainable = _trainable(facts, bench.backbone, number, given)
            outcome = tune(trainable, plan, number, training, validation, run, watchers, bench.interrupt)
            run.log("member", member=number, ended=outcome.why, best_epoch=outcome.state.best_epoch)
            members.append(Member(trainable, outcome))
            if outcome.failed or bench.interrupt.asked:
                break
    return members


def _trainable(facts: RunFacts, backbone: Backbone, member: int, given: SoftPrompt | None) -> Trainable:
    if facts.plan.method == "lora":
        return adapter.Adapter(backbone, facts.plan.seed)
    return start.Word(backbone, facts.plan, start.first_numbers(backbone, facts.plan, member, given))
