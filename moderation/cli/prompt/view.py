"""How prompts are shown to people, and what the commands on them share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moderation.cli.shared import counted
from moderation.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from moderation.detector import SoftPrompt
    from moderation.domain.prompt import PromptRecord
    from moderation.flows.registry.prompt import PromptContents
    from moderation.wiring import Wiring

SIDES = {"qformer": "Q-Former", "llm": "language model"}
CHECKPOINTS = frozenset({".pth", ".pt"})


def described(found: PromptContents) -> dict[str, str]:
    """What a prompt holds, a line each."""
    words = [f"{counted(tokens, 'token')} in the {SIDES[side]}" for side, tokens in found.tokens.items()]
    some = f"{found.members} words (an ensemble) of " if found.members > 1 else ""
    numbers = (" ".join(f"{value:.4g}" for value in part) for part in (found.mean, found.std))
    return {
        "question": repr(found.question),
        "position": found.position,
        "pseudo-word": some + ", ".join(words) if words else "none: the plain question",
        "tuned on": f"{found.backbone}, {f'revision {found.revision}' if found.revision else 'any revision'}",
        "normalisation": "mean {}, std {}".format(*numbers),
        "calibration": found.calibration or "none: P(fake) is the model's own belief",
        **({"source bias": _biases(found.source_bias)} if found.source_bias else {}),
        "native crops": _crops(found.crops) if found.crops else "none",
        "pixel expert": _expert(found.expert) if found.expert else "none",
        "made from": str(found.metadata.get("parent") or found.metadata.get("started_from") or "not said"),
        "format": str(found.format),
    }


def flattened(metadata: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """(name.of.value, value) for every value in the metadata; lists as they are."""
    for name, value in metadata.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", json.dumps(value, ensure_ascii=False)


def registered(wiring: Wiring, record: PromptRecord) -> SoftPrompt:
    """The prompt that is registered so. Raises ConfigurationError."""
    from moderation.detector import SoftPrompt

    return SoftPrompt.from_bytes(wiring.prompts.blob(record.prompt_id), sha256=record.sha256)


def named_file(wanted: str, option: str = "") -> Path | None:
    """The file that an argument ID|FILE names; None where it is an id. Raises ConfigurationError for a checkpoint."""
    path = Path(wanted)
    if path.suffix in CHECKPOINTS and path.is_file():
        raise ConfigurationError(
            wanted, "a checkpoint of the original code", hint=f"take it in first: modctl prompt import {wanted}"
        )
    if path.is_file():
        return path
    if path.suffix or path.is_dir() or path.name != wanted:
        raise ConfigurationError(option or wanted, "there is no such file", hint="name a prompt file or an id")
    return None


def titled(record: PromptRecord | None) -> str:
    """A prompt for people: its id and its name."""
    return f"{record.prompt_id} ({record.name})" if record else "none"


@contextmanager
def bar(total: int) -> Iterator[Callable[[], None]]:
    """A bar on standard error, moved on by a call; none without a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from moderation.cli.shared import console

    screen = console(stderr=True)
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)


def _biases(biases: Mapping[str, float]) -> str:
    return ", ".join(f"{source} {bias:+.2f}" for source, bias in sorted(biases.items()))


def _crops(crops: Mapping[str, Any]) -> str:
    low, high = crops["low"], crops["high"]
    where = "of every picture" if (low, high) == (0, 1) else f"where P(fake) lies in {low:g}..{high:g}"
    return f"{crops['count']}, {crops['pool']} with the whole, {where}"


def _expert(expert: Mapping[str, Any]) -> str:
    built = f"{expert['architecture']}, " if "architecture" in expert else ""
    return f"{built}{expert['numbers']} numbers, weight {expert['weight']:.4g}, on {counted(expert['crops'], 'crop')}"
