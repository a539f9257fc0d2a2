"""modctl queue: bells and rows left behind."""

from __future__ import annotations

import click

from moderation.cli.open_runs import open_runs
from moderation.cli.shared import json_option, parts, print_facts, print_json


@click.group()
def command() -> None:
    """The queue: what waits, and ring for what was left behind."""


@command.command()
@json_option
def status(as_json: bool) -> None:
    """Bells waiting in Redis, images waiting and runs open in SQL, workers that answer."""
    with parts() as wiring:
        depths = wiring.bell.depths()
        workers = wiring.bell.workers()
        counts = wiring.submissions.counts()
        runs = open_runs(wiring)
    if as_json:
        images = {name: counts[name] for name in ("waiting", "claimed", "retrying")}
        print_json({"bells": depths, "images": images, "runs": runs.to_json(), "workers": workers})
        return
    print_facts(
        {
            **{f"bells in {name}": depth for name, depth in depths.items()},
            "images waiting": counts["waiting"],
            "images being scored": counts["claimed"],
            **runs.facts(),
            "workers": ", ".join(workers) or "none answers; start one: modctl worker",
        }
    )


@command.command()
@json_option
def sweep(as_json: bool) -> None:
    """Free what vanished workers held and ring for rows no bell will reach. Workers do this by themselves."""
    from moderation.flows.scanning.sweep import sweep as run

    with parts() as wiring:
        settings = wiring.settings
        done = run(
            claims=wiring.claims, bell=wiring.bell, batch_size=settings.batch_size, ring_again_s=settings.ring_again_s
        )
    if as_json:
        print_json(done)
    else:
        click.echo(
            f"Rang for {done.rung} images; {done.freed} came back from vanished workers, {done.given_up} given up."
        )
