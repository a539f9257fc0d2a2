"""Whether what a long command needs at its end is installed: told before hours of work, not after."""

from __future__ import annotations

import importlib.util

from moderation.cli import no_training

_PACKAGES = ("sklearn", "scipy", "matplotlib", "jinja2", "pyarrow", "peft")  # what the extra `train` adds


def check_training() -> None:
    """Raises ConfigurationError, which names the extra, where a package for tuning is missing."""
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise no_training(package)
