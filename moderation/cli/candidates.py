"""What `modctl eval --prompt` names: a registered prompt, a file, the plain question, a LoRA. Made into candidates.

The database is opened for ids alone, and for the active prompt where there is a database.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moderation.cli.shared import load_prompt, say
from moderation.errors import ConfigurationError, PromptMismatch, SchemaMismatch

if TYPE_CHECKING:
    from moderation.detector import SoftPrompt
    from moderation.flows.measuring.score import Candidate
    from moderation.wiring import Wiring

ZERO_SHOT = "zero-shot"
LORA = "lora:"
_CHECKPOINTS = {".pth", ".pt"}
_SQLITE = "sqlite:///"


def candidates(wiring: Wiring, wanted: Sequence[str], threshold: float) -> list[Candidate]:
    """A candidate for each of `wanted`, in order; for none the active prompt's. Names are made unique.

    Raises ConfigurationError that names what it is about.
    """
    made = [_candidate(wiring, each, threshold) for each in wanted] if wanted else [_default(wiring, threshold)]
    seen: Counter[str] = Counter()
    unique = []
    for candidate in made:
        name = candidate.subject.name
        seen[name] += 1
        unique.append(_renamed(candidate, f"{name} #{seen[name]}") if seen[name] > 1 else candidate)
    return unique


def _renamed(candidate: Candidate, name: str) -> Candidate:
    from dataclasses import replace

    return replace(candidate, subject=replace(candidate.subject, name=name))


def _candidate(wiring: Wiring, wanted: str, threshold: float) -> Candidate:
    if wanted == ZERO_SHOT:
        return _of_prompt(wiring, ZERO_SHOT, _plain(wiring), threshold)
    if wanted.startswith(LORA):
        return _of_lora(wiring, Path(wanted.removeprefix(LORA)), threshold)
    file = _file(wanted)
    if file.is_file():
        prompt = _original(wiring, file) if file.suffix in _CHECKPOINTS else load_prompt(file)
        return _of_prompt(wiring, _name(file, prompt), prompt, threshold, setting=wanted)
    if file.suffix or "/" in wanted or file.exists():
        hint = f"a prompt file, the folder of a run, a registered id, {ZERO_SHOT}, or {LORA}FOLDER"
        problem = f"{wanted} has no prompt in it" if file.is_dir() else f"{wanted} is no file"
        raise ConfigurationError("--prompt", problem, hint=hint)
    record = wiring.prompts.find(wanted)
    return _of_prompt(wiring, record.prompt_id, _registered(wiring, record.prompt_id), threshold, setting=wanted)


def _file(wanted: str) -> Path:
    """The prompt in a run's folder, or what was named."""
    from moderation.training.run import PROMPT

    path = Path(wanted)
    return path / PROMPT if (path / PROMPT).is_file() else path


def _name(file: Path, prompt: SoftPrompt) -> str:
    """Every run's prompt has the same file name: then what the run was called, if its prompt says it."""
    from moderation.training.run import PROMPT

    plan = prompt.metadata.get("plan")
    named = plan.get("name") if file.name == PROMPT and isinstance(plan, dict) else None
    return str(named or file.stem)


def _default(wiring: Wiring, threshold: float) -> Candidate:
    from moderation.flows.scanning.active import no_active_prompt
    from moderation.miniature import PROMPT_FILE

    record = _active(wiring)
    if record is not None:
        return _of_prompt(wiring, record, _registered(wiring, record), threshold)
    if wiring.settings.backbone != "miniature":
        raise no_active_prompt(wiring.settings.backbone, hint=f"name one: --prompt FILE, an id, or {ZERO_SHOT}")
    say("no prompt is active here: evaluating the miniature's shipped one")
    return _of_prompt(wiring, "shipped", load_prompt(PROMPT_FILE), threshold)


def _active(wiring: Wiring) -> str | None:
    """The active prompt's id; None where there is none, or no database yet. An SQLite file is not made for this."""
    url = wiring.settings.database_url
    if url.startswith(_SQLITE) and not Path(url.removeprefix(_SQLITE)).is_file():
        return None
    try:
        record = wiring.prompts.active(wiring.backbone.name)
    except SchemaMismatch:
        return None
    return record.prompt_id if record else None


def _registered(wiring: Wiring, prompt_id: str) -> SoftPrompt:
    from moderation.detector import SoftPrompt
    from moderation.domain.prompt import PromptId

    return SoftPrompt.from_bytes(wiring.prompts.blob(PromptId(prompt_id)))


def _plain(wiring: Wiring) -> SoftPrompt:
    """The question without a pseudo-word, on pictures normalised as the backbone is used to."""
    from moderation.detector import STATISTICS_150K, SoftPrompt
    from moderation.miniature import PROMPT_FILE

    is_miniature = wiring.settings.backbone == "miniature"
    normalisation = load_prompt(PROMPT_FILE).normalisation if is_miniature else STATISTICS_150K
    return SoftPrompt.plain(wiring.backbone.name, normalisation=normalisation)


def _original(wiring: Wiring, file: Path) -> SoftPrompt:
    from moderation.detector import read_original

    checkpoint = read_original(file)
    for note in (*checkpoint.notes, *(f"Warning: {text}" for text in checkpoint.warnings(wiring.backbone))):
        say(note)
    return checkpoint.to_prompt(wiring.backbone.name)


def _of_prompt(wiring: Wiring, name: str, prompt: SoftPrompt, threshold: float, setting: str = "") -> Candidate:
    from moderation.detector import Detector
    from moderation.evaluation.result import Subject
    from moderation.flows.measuring.score import Candidate

    try:
        detector = Detector(wiring.backbone, prompt)
    except PromptMismatch as error:
        raise ConfigurationError(setting or name, f"it does not fit: {error.problem}", hint=error.hint) from None
    return Candidate(Subject(name, prompt.sha256, threshold), detector, prompt.metadata)


def _of_lora(wiring: Wiring, folder: Path, threshold: float) -> Candidate:
    from moderation.evaluation.result import Subject
    from moderation.flows.measuring.score import Candidate
    from moderation.training.lora import load_lora

    if not folder.exists():
        raise ConfigurationError("--prompt", f"{LORA}{folder} leads nowhere", hint="name the folder modctl tune made")
    detector = load_lora(folder, wiring.backbone)
    return Candidate(Subject(detector.name, _hash_of(folder), threshold), detector, detector.metadata)


def _hash_of(folder: Path) -> str:
    """Over names and contents of the files: what exactly was evaluated."""
    files = sorted(file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else [folder]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(folder)}\n".encode("utf-8", "surrogateescape"))
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
