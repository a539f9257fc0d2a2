"""modctl status: where the submitted images stand, and the runs that are open."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from moderation.cli.open_runs import open_runs
from moderation.cli.shared import json_option, local_time, parts, print_facts, print_json, print_table


@click.command()
@click.option("--failed", is_flag=True, help="List the images that failed, each with its reason.")
@click.option("--pending", is_flag=True, help="List the images that wait or are being tried.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="List so many at most.")
@json_option
def command(failed: bool, pending: bool, limit: int, as_json: bool) -> None:
    """Where the submitted images stand, and what failed.

    Open training and rescoring runs are told of, too: modctl retrain status, modctl rescore status.
    """
    from moderation.domain.submission import State

    if failed and pending:
        raise click.UsageError("--failed or --pending, not both")
    with parts() as wiring:
        if failed or pending:
            state = State.FAILED if failed else State.PENDING
            found = wiring.submissions.list(state=state, limit=limit)
            if as_json:
                for item in found:
                    print_json(item)
            elif found:
                rows = [
                    (i.image_id, i.source, local_time(i.submitted_at), i.attempts, i.reason, i.detail) for i in found
                ]
                columns = ("image", "source", "submitted", "tries", "reason", "detail")
                folded = ("image", "source", "detail")
                print_table(columns, rows, right=("tries",), fold=folded, spare=("tries", "submitted"))
            else:
                click.echo("No image has failed." if failed else "No image is waiting.")
            return
        counts = wiring.submissions.counts()
        oldest = wiring.submissions.oldest_pending()
        waits_s = (datetime.now(UTC) - oldest).total_seconds() if oldest else None
        failures = wiring.submissions.failures()
        decisions = {str(decision): count for decision, count in wiring.verdicts.counts().items()}
        runs = open_runs(wiring)
        if as_json:
            told = {"oldest_waits_s": waits_s, "failures": failures, "verdicts": decisions, "runs": runs.to_json()}
            print_json({**counts, **told})
            return
        print_facts(
            {
                "waiting": f"{counts['waiting']}"
                + (f", the oldest for {waits_s:.0f} s" if waits_s is not None else ""),
                "  of them for another try": counts["retrying"],
                "being scored": counts["claimed"],
                "done": counts["done"],
                "failed": counts["failed"],
                **{f"  {reason}": count for reason, count in failures.items()},
                **{f"verdict {name}": count for name, count in decisions.items()},
                **runs.facts(),
            }
        )
