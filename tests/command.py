"""`modctl` as a user calls it, in this process: its exit code and what it wrote where. No terminal is attached."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from moderation.cli import main


@dataclass(frozen=True)
class Done:
    """One call's outcome. `out` is data, `err` is talk."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one JSON object it printed."""
        (line,) = self.out.splitlines()
        return json.loads(line)

    def lines(self) -> list[Any]:
        """The JSON objects it printed, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


def modctl(*arguments: object, stdin: str | bytes = "") -> Done:
    """Runs the console script with what is in the environment now."""
    ours = logging.getLogger("moderation")
    level = ours.level
    try:
        with CliRunner().isolation(input=stdin) as (out, err, _):
            try:
                main([str(argument) for argument in arguments])
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            sys.stdout.flush()
            sys.stderr.flush()
            return Done(code, out.getvalue().decode(), err.getvalue().decode())
    finally:
        ours.setLevel(level)  # the console script silences our warnings for its process; the next test wants them


def ok(*arguments: object, stdin: str | bytes = "") -> Done:
    """The same, for a call that must succeed."""
    done = modctl(*arguments, stdin=stdin)
    assert done.code == 0, done
    return done


def refusal(done: Done) -> str:
    """The message of an error, which must be exit 2 with nothing on standard output."""
    assert (done.code, done.out) == (2, ""), done
    assert "Traceback" not in done.err
    return done.err.partition("Error: ")[2].strip()
