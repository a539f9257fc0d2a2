"""What is loaded when: a web app needs no torch, and importing the package alone needs next to nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "numpy")


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh process has loaded after `statement`."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_alone() -> None:
    assert loaded_by("import moderation").isdisjoint({*HEAVY, "sqlalchemy", "celery", "redis", "pydantic", "PIL"})


@pytest.mark.parametrize(
    "statement",
    [
        "import moderation; moderation.Moderation(database_url='sqlite://').close()",
        "from moderation import Moderation, Verdict, Decision, ServiceDown",
        "import moderation.cli",
        "import moderation.detector",
        "import moderation.evaluation.gate_result",
        "import moderation.miniature",
        "import workers.app",
        "import moderation.flows.watching.turn",
    ],
)
def test_no_torch_before_it_is_needed(statement: str) -> None:
    assert loaded_by(statement).isdisjoint(HEAVY)


def test_help_loads_no_database_and_no_queue() -> None:
    help_ = "import sys; sys.argv = ['modctl', '--help']; import moderation.cli\ntry: moderation.cli.main()\n"
    found = loaded_by(help_ + "except SystemExit: pass")
    assert found.isdisjoint({*HEAVY, "sqlalchemy", "celery", "redis"})


def test_every_public_name_is_there() -> None:
    import moderation

    for name in moderation.__all__:
        assert getattr(moderation, name).__name__ == name
    with pytest.raises(AttributeError, match="nonsense"):
        moderation.nonsense  # noqa: B018
