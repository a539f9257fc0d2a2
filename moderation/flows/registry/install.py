"""Install: the schema brought up to date, the default policy, and the miniature's shipped prompt as its active one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moderation.domain.lesson import pack
from moderation.domain.prompt import PromptId
from moderation.flows.registry.prompt import register
from moderation.flows.tuning.manifest import packaged_lessons
from moderation.storage import schema
from moderation.storage.database import Database
from moderation.storage.policies import Policies
from moderation.storage.registry.manifests import fill_manifest
from moderation.storage.registry.prompts import Prompts

SHIPPED_NAME = "shipped"


@dataclass(frozen=True, slots=True)
class Installed:
    """Schema revisions before (None: there were no tables) and after; the shipped prompt if it was made active now."""

    before: str | None
    after: str | None
    activated: PromptId | None


def install(database: Database, shipped_prompt: Path) -> Installed:
    """Does what is missing; a second time does nothing. Raises ServiceDown.

    A prompt that an older package shipped gives way to this one's, which alone fits the weights that came with it; one
    that a person chose stays. What it was tuned on is stored with it, as far as that ships beside it.
    """
    before, after = schema.upgrade(database)
    Policies(database).ensure_default()
    prompts = Prompts(database)
    record = register(prompts, shipped_prompt.read_bytes(), name=SHIPPED_NAME)
    lessons = packaged_lessons(shipped_prompt.parent)
    if lessons:  # also for a prompt that was installed before this was kept
        fill_manifest(database, record.prompt_id, pack(lessons), lessons=len(lessons))
    active = prompts.active(record.backbone)
    vacant = active is None or active.name == SHIPPED_NAME
    activated = vacant and prompts.activate(record.prompt_id, only_first=active is None)
    return Installed(before, after, record.prompt_id if activated else None)
