"""modctl threshold suggest: the lowest threshold that the labels prove to be good enough."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import click

from moderation.cli.figures import kind_name, missing, percent, share
from moderation.cli.shared import Since, json_option, parts, print_facts, print_json, say
from moderation.domain.verdict import Decision

if TYPE_CHECKING:
    from moderation.domain.policy import Thresholds
    from moderation.flows.reviewing.suggest import Suggestion

_MISSED = 4
_BETWEEN = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command()
@click.option("--max-fpr", type=_BETWEEN, required=True, help="Largest share of real pictures at or above it.")
@click.option("--confidence", type=_BETWEEN, default=0.95, show_default=True, help="How sure the proof has to be.")
@click.option("--source", help="Only images of this source.")
@click.option("--since", type=Since(), help="Only images scored since: a span back (7d) or an ISO time.")
@json_option
def suggest(max_fpr: float, confidence: float, source: str | None, since: datetime | None, as_json: bool) -> None:
    """The lowest threshold whose false-positive rate the labels prove to be below --max-fpr.

    Exit code 4 where they prove nothing; it says how many more real pictures must be labelled. Nothing is set.
    """
    from moderation.domain.evidence import Scope
    from moderation.domain.policy import ANY_SOURCE
    from moderation.storage.policies import for_sources

    certify = _certifier()

    with parts() as wiring:
        policies = wiring.policies.current()
        now = for_sources(policies, [source or ANY_SOURCE])[source or ANY_SOURCE].thresholds
        found = certify(wiring.archive, Scope(source=source, since=since), max_fpr=max_fpr, confidence=confidence)
    if as_json:
        print_json(found)
    elif found.certificate.threshold is not None:
        _show(found)
        say(_hint(found.certificate.threshold, source, now))
    if found.certificate.threshold is None:
        say(_refusal(found))
        raise SystemExit(_MISSED)


def _certifier() -> Callable[..., Suggestion]:
    try:
        from moderation.flows.reviewing.suggest import suggest as certify
    except ModuleNotFoundError as error:
        from moderation.cli import no_training

        raise no_training((error.name or "a package").partition(".")[0]) from None
    return certify


def _show(found: Suggestion) -> None:
    proof = found.certificate
    print_facts(
        {
            "threshold": f"{proof.threshold:g}",
            "proven": f"false-positive rate at most {share(proof.bound)} (asked: {share(found.max_fpr)}), "
            f"{100 * found.confidence:g} % sure",
            "seen": f"{proof.flagged} of {proof.real} images labelled real lie at or above it ({share(proof.rate)})",
            "method": proof.method,
            "flagged": f"{found.flagged:,} of {found.images:,} images",
            "recall": percent(found.recall),
            "prompt": found.prompt_id,
        }
    )
    for line in missing(found.kinds):
        say(line)


def _hint(threshold: float, source: str | None, now: Thresholds) -> str:
    option = "block" if threshold >= now.review_at else "review"
    words = f"modctl threshold preview --{option}-at {threshold:g}" + (f" --source {source}" if source else "")
    return f"See what it would change: {words}"


def _refusal(found: Suggestion) -> str:
    proof = found.certificate
    head = f"No threshold is proven to keep the false-positive rate below {share(found.max_fpr)}"
    if proof.is_blind:
        blind = [kind for kind in found.unseen if kind.decision is Decision.BLOCK]
        kinds = "; ".join(map(kind_name, blind))
        why = f"{head}: nobody has looked at images that score highest ({kinds})."
        lines = missing([each for each in found.kinds if each.kind in blind])
        return "\n".join([why, *lines, "Where these are old ones, leave them out: --since."])
    seen = f"{proof.real} images labelled real so far"
    if proof.flagged:
        seen += f", {proof.flagged} of them above every threshold"
    return f"{head}: at least {proof.more:,} more images labelled real are needed ({seen})."
