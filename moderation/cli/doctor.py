"""modctl doctor: looks at every part a deployment needs, and says of each what is wrong and what to do."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from moderation.cli import INSTALL_SCORING
from moderation.cli.doctor_alarms import alarm_findings
from moderation.cli.doctor_prompts import registry_finding
from moderation.cli.doctor_runs import run_findings
from moderation.cli.finding import Finding, Health
from moderation.cli.shared import json_option, parts, print_json, print_table
from moderation.errors import ConfigurationError, ModerationError, ServiceDown

if TYPE_CHECKING:
    from moderation.wiring import Wiring

LOW_DISK_BYTES = 1_000_000_000


_COLOURS = {
    Health.OK: "green",
    Health.WARNING: "yellow",
    Health.FAILED: "red",
    Health.DOWN: "red",
    Health.SKIPPED: "bright_black",
}


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Check settings, services, backbone and prompt; say what to do.

    Exit code 3 when a service is down, 1 when another part fails; warnings leave it at 0.
    """
    from moderation.settings import Settings, origin

    with parts() as wiring:
        settings = [
            {"name": f"MODERATION_{name.upper()}", "value": _shown(wiring, name), "origin": origin(name)}
            for name in Settings.model_fields
        ]
        if not as_json:
            print_table(
                ("setting", "value", "from"), [tuple(setting.values()) for setting in settings], fold=("value",)
            )
            click.echo()
        findings = []
        for finding in examine(wiring):
            findings.append(finding)
            if not as_json:
                _show(finding)
    if as_json:
        print_json({"settings": settings, "findings": [_plain(finding) for finding in findings]})
    healths = {finding.health for finding in findings}
    if Health.DOWN in healths:
        raise SystemExit(ServiceDown.exit_code)
    if Health.FAILED in healths:
        raise SystemExit(ModerationError.exit_code)


def examine(wiring: Wiring) -> Iterator[Finding]:
    """All findings as they are made, in the order in which the parts stand on each other."""
    yield _variables()
    sql = _guarded("SQL", lambda: _sql(wiring))
    yield sql
    schema = _guarded("schema", lambda: _schema(wiring)) if sql.health is Health.OK else _skipped("schema", "SQL")
    yield schema
    known = schema.health is Health.OK
    registry = _guarded("registry", lambda: registry_finding(wiring)) if known else _skipped("registry", "schema")
    yield registry
    if known:
        yield from alarm_findings(wiring)
        yield from run_findings(wiring)
    broker = _guarded("broker", lambda: _broker(wiring))
    yield broker
    heard = broker.health is Health.OK
    yield _guarded("workers", lambda: _workers(wiring)) if heard else _skipped("workers", "the broker")
    if importlib.util.find_spec("torch") is None:
        remedy = f"fine for a web app; for scoring: {INSTALL_SCORING}"
        yield Finding("scoring", Health.WARNING, "torch is not installed: this machine can't score", remedy)
    else:
        yield _guarded("images", lambda: _images(wiring))
        backbone = _guarded("backbone", lambda: _backbone(wiring))
        yield backbone
        yield _device(wiring) if backbone.health is Health.OK else _skipped("device", "the backbone")
        ready = registry.health in {Health.OK, Health.WARNING} and backbone.health is Health.OK
        yield _guarded("prompt", lambda: _prompt(wiring)) if ready else _skipped("prompt", "registry and backbone")
    yield _disk(wiring)


def _show(finding: Finding) -> None:
    colour = _COLOURS[finding.health]
    click.echo(f"{click.style(f'{finding.health:<8}', fg=colour)} {finding.part:<10} {finding.seen}")
    for line in finding.remedy.splitlines():
        click.echo(f"{'':<8} {'':<10} -> {line}")


def _guarded(part: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except ServiceDown as error:
        return Finding(part, Health.DOWN, error.problem, error.hint)
    except ConfigurationError as error:
        return Finding(part, Health.FAILED, f"{error.setting}: {error.problem}", error.hint)


def _skipped(part: str, because: str) -> Finding:
    return Finding(part, Health.SKIPPED, f"needs {because}")


def _variables() -> Finding:
    from moderation.settings import unknown_variables

    unknown = unknown_variables()
    if not unknown:
        return Finding("variables", Health.OK, "no unknown MODERATION_* variable")
    meant = [f"{name} (did you mean {guess}?)" if guess else name for name, guess in unknown.items()]
    return Finding("variables", Health.WARNING, "unknown: " + ", ".join(meant), "correct or remove them")


def _sql(wiring: Wiring) -> Finding:
    from moderation.storage.schema import UPGRADE, missing_file

    database = wiring.raw_database
    if absent := missing_file(database):
        return Finding("SQL", Health.FAILED, f"there is no file {absent}", f"go where it lies, or create it: {UPGRADE}")
    began = time.monotonic()
    with database.read() as session:
        database.now(session)
    return Finding("SQL", Health.OK, f"{database.shown} answered in {(time.monotonic() - began) * 1000:.0f} ms")


def _schema(wiring: Wiring) -> Finding:
    from moderation.storage import schema

    schema.check(wiring.raw_database)
    return Finding("schema", Health.OK, f"revision {schema.HEAD}")


def _broker(wiring: Wiring) -> Finding:
    depths = wiring.bell.depths()
    return Finding(
        "broker", Health.OK, "bells waiting: " + ", ".join(f"{name} {depth}" for name, depth in depths.items())
    )


def _workers(wiring: Wiring) -> Finding:
    names = wiring.bell.workers()
    if names:
        return Finding("workers", Health.OK, ", ".join(names))
    return Finding("workers", Health.WARNING, "none answers", "start one: modctl worker")


def _images(wiring: Wiring) -> Finding:
    from moderation.settings import without_password

    source = wiring.image_source  # made, so known to be possible
    where = wiring.settings.images
    seen = without_password(where) if "://" in where else str(Path(where).resolve())
    return Finding("images", Health.OK, f"{type(source).__name__.removesuffix('Source').lower()} {seen}")


def _backbone(wiring: Wiring) -> Finding:
    began = time.monotonic()
    backbone = wiring.backbone
    seen = f"{backbone.name}, revision {(backbone.revision or 'unknown')[:12]}, {backbone.image_size} px"
    return Finding("backbone", Health.OK, f"{seen}, loaded in {time.monotonic() - began:.1f} s")


def _device(wiring: Wiring) -> Finding:
    backbone = wiring.backbone
    seen = f"{backbone.device}, {str(backbone.dtype).removeprefix('torch.')}"
    if backbone.device.type == "cpu":
        return Finding("device", Health.OK, f"{seen}; right for the miniature, too slow for real weights")
    return Finding("device", Health.OK, seen)


def _prompt(wiring: Wiring) -> Finding:
    active = wiring.active_prompt.scorer()
    return Finding("prompt", Health.OK, f"{active.by.prompt_id} is active and fits")


def _disk(wiring: Wiring) -> Finding:
    database = wiring.raw_database
    path = Path(database.url.database or ".").resolve().parent if database.is_sqlite else Path.cwd()
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    seen = f"{free / 1e9:.1f} GB free at {path}"
    return (
        Finding("disk", Health.OK, seen)
        if free > LOW_DISK_BYTES
        else Finding("disk", Health.WARNING, seen, "make room")
    )


def _shown(wiring: Wiring, name: str) -> str:
    from moderation.settings import without_password

    value = getattr(wiring.settings, name)
    if name == "database_url":
        return wiring.raw_database.shown
    return without_password(str(value))


def _plain(finding: Finding) -> dict[str, str]:
    return {"part": finding.part, "health": finding.health, "seen": finding.seen, "remedy": finding.remedy}
