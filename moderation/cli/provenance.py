"""What a command writes down so that its result can be made again: the command line, the machine, the versions."""

from __future__ import annotations

import os
import platform
import shlex
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from moderation.wiring import Wiring


def score_versions(wiring: Wiring) -> dict[str, Any]:
    """What scores depend on, besides pictures and candidates."""
    settings, backbone = wiring.settings, wiring.backbone
    return {
        "backbone": backbone.name,
        "backbone_revision": backbone.revision,
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "exif_orientation": settings.exif_orientation,
        "max_image_pixels": settings.max_image_pixels,
        "max_image_bytes": settings.max_image_bytes,
    }


def machine(wiring: Wiring) -> dict[str, Any]:
    """What and when it ran on: for the record."""
    packages = ("antifake-moderation", "numpy", "pillow", "torch", "transformers")
    return {
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "platform": platform.platform(),
            "processors": os.cpu_count(),
            "device": str(wiring.backbone.device),
            "python": platform.python_version(),
        },
        "versions": {name: version(name) for name in packages},
    }


def typed_command(context: click.Context) -> str:
    """The command line, without what was left at its default."""
    words = ["modctl", "eval"]
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        if value is None or value is False or value in ((), parameter.get_default(context)):
            continue
        option = parameter.opts[0]
        for each in value if isinstance(value, tuple) else (value,):
            words += [option] if each is True else [option, str(each)]
    return shlex.join(words)
