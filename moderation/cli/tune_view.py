"""What `modctl tune` shows: the plan before, the outcome after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from moderation.cli.shared import counted, print_facts, print_json, say

if TYPE_CHECKING:
    from moderation.domain.prompt import PromptRecord
    from moderation.flows.tuning.data import TuningData
    from moderation.flows.tuning.tuned import Tuned
    from moderation.training.plan import TunePlan


def show_plan(
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
        "steps": f"{counted(plan.epochs or 1, 'epoch')} of {counted(coming['steps_per_epoch'], 'step')}, "
        f"batches of {plan.batch_size}"
        + (f", {plan.passes} times over the pictures in each epoch" if plan.passes > 1 else "")
        + (f", {plan.members} members" if plan.members > 1 else ""),
        "learning": f"loss {plan.loss}, lr {plan.lr:g} {plan.schedule}, weight decay {plan.weight_decay:g}, "
        f"augment {plan.augment}, {plan.precision}, seed {plan.seed}",
        "features": f"{human_bytes(coming['feature_bytes'])} for {counted(coming['features_kept'], 'picture')}",
    }
    return facts


def print_outcome(
    tuned: Tuned, record: PromptRecord | None, plan: TunePlan, *, as_json: bool, no_register: bool
) -> None:
    """One summary, or one JSON object."""
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
        say("stopped on request: this is the best so far" + (", without a pixel expert" if plan.expert else ""))
    metrics = tuned.metrics
    facts = {
        "prompt" if tuned.prompt else "adapter": f"{record.prompt_id} ({plan.name}), {record.state}" if record
        else f"{plan.name}, not registered" + (", as asked" if no_register else ""),
        "file": str(tuned.artefact),
        "validation": f"AUC {metrics['auc']:.3f}, balanced accuracy {metrics['balanced_accuracy']:.3f} "
        f"(real {metrics['accuracy_real']:.3f}, fake {metrics['accuracy_fake']:.3f}), "
        + (f"loss {metrics['loss']:.4f}, " if "loss" in metrics else "")
        + f"{metrics['n_real']} real and {metrics['n_fake']} fake",
        "calibration": "; ".join(tuned.notes) or "fitted",
        "report": str(tuned.report),
    }  # fmt: skip
    print_facts(facts)
