"""modctl. A file a noun; each command parses, calls one flow and prints once.

Data goes to standard output, talk and progress to standard error. Exit codes: 0 done, 1 failed, 2 usage or settings,
3 a service is down, 4 a gate or bar was missed. Commands are imported when they are called, so that help is fast.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

import moderation
from moderation.errors import ConfigurationError, ModerationError

# name: one line of help. The command is `command` in the module of that name.
COMMANDS = {
    "appeal": "Put an image before a reviewer who has not judged it.",
    "audit": "The audit trail: who changed what and why, and whether it is whole.",
    "canary": "Pictures with known answers that every worker checks itself on.",
    "db": "The database: create or upgrade its tables, check them.",
    "demo": "Show the whole main job on the sample pictures.",
    "doctor": "Check settings, services, backbone and prompt; say what to do.",
    "drift": "Whether what comes in, or what people say of it, differs from before.",
    "estimate": "How good the current thresholds are, from what people said.",
    "eval": "How good prompts are on labelled pictures: figures, robustness, report.",
    "gold": "Images whose truth is known, mixed in unseen to measure reviewers.",
    "prompt": "The tuned pseudo-words: which there are, which one decides, which one scores beside it.",
    "queue": "The queue: what waits, and ring for what was left behind.",
    "rescore": "Score stored images again with the active prompt, and show what that would change.",
    "retrain": "Retrain the active prompt on reviewed images, and judge the candidate.",
    "review": "Look at pictures and say what they are: the reviewers' screen, and scripts.",
    "reviewer": "The people who review: add, list, remove.",
    "reviewers": "How the reviewers do: pace, accuracy on gold, agreement.",
    "scan": "Score pictures here and now, without queue or database.",
    "serve": "Serve the review page for a team.",
    "status": "Where the submitted images stand, and what failed.",
    "submit": "Ask for verdicts on images.",
    "tune": "Tune a pseudo-word on labelled pictures.",
    "threshold": "From which probability people look, and pictures are blocked.",
    "verdicts": "The verdicts so far.",
    "worker": "Run a worker that scores what was submitted.",
}


INSTALL_SCORING = "pip install 'antifake-moderation[worker]'"
INSTALL_TRAINING = "pip install 'antifake-moderation[train]'"
INSTALL_WEB = "pip install 'antifake-moderation[web]'"
# What the extras bring; the rest of modctl works without them.
_SCORING = frozenset({"numpy", "pdqhash", "safetensors", "sentencepiece", "tokenizers", "torch", "transformers"})
_TRAINING = frozenset({"jinja2", "matplotlib", "peft", "pyarrow", "scipy", "sklearn"})
_WEB = frozenset({"fastapi", "starlette", "uvicorn"})


class Lazy(click.Group):
    """A group whose commands are modules, imported when they are called."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{name}").command
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(moderation.__version__, prog_name="modctl")
def modctl() -> None:
    """Moderation of AI-generated images: is this picture real?

    Settings come from MODERATION_* variables and a .env file; `modctl doctor` shows them. New here? `modctl demo`.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console script; `arguments` None: the process's own.

    Errors that are ours become a message and an exit code, in this one place.
    """
    logging.getLogger("moderation").setLevel(logging.ERROR)  # a command says itself what went otherwise
    try:
        modctl(arguments, prog_name="modctl")
    except ModerationError as error:
        _fail(error)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in _SCORING:
            _fail(no_scoring(package))
        if package in _WEB:
            _fail(no_web(package))
        if package not in _TRAINING:
            raise
        _fail(no_training(package))
    sys.exit()  # not reached: click ends the process itself


def no_scoring(package: str) -> ConfigurationError:
    """The error where a command has to score and the packages for it are not installed."""
    return ConfigurationError(
        "installation", f"{package} is missing, so this machine can't score", hint=f"install it: {INSTALL_SCORING}"
    )


def no_training(package: str) -> ConfigurationError:
    """The error where a command tunes or measures and the packages for it are not installed."""
    return ConfigurationError(
        "installation",
        f"{package} is missing, so this machine can't tune or measure",
        hint=f"install it: {INSTALL_TRAINING}",
    )


def no_web(package: str) -> ConfigurationError:
    """The error where a command serves pages and the packages for it are not installed."""
    return ConfigurationError(
        "installation", f"{package} is missing, so this machine can't serve pages", hint=f"install it: {INSTALL_WEB}"
    )


def _fail(error: ModerationError) -> NoReturn:
    click.echo(f"Error: {error}", err=True)
    sys.exit(error.exit_code)
