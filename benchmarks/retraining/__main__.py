"""The loop told with real parts: a family nobody has seen, reviewers who err, a retraining, the gate, a hot swap.

    python -m benchmarks.retraining [--work DIR] [--uploads 200] [--others 150] > benchmarks/retraining/results.json

A private Redis and PostgreSQL, one worker that scans throughout and one that trains, `modctl` as an operator types it.
Then the converse: one reviewer whose word alone counts answers the wrong way round, and the gate must refuse.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.retraining import page, pictures, story
from benchmarks.retraining.installation import Installation, settings_of
from moderation import embedded


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.retraining", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--work", type=Path, help="where pictures and logs go (default: a temporary folder)")
    parser.add_argument("--uploads", type=int, default=200, help="pictures of each class that are reviewed")
    parser.add_argument("--others", type=int, default=150, help="pictures of each class that measure")
    parser.add_argument("--page", action="store_true", help="write the figures into docs/retraining.md too")
    given = parser.parse_args()
    with ExitStack() as stack:
        work = given.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        made = pictures.make(work.resolve(), given.uploads, given.others, say)
        broker = stack.enter_context(embedded.redis_server(named=""))
        postgres = stack.enter_context(embedded.postgres_server(named=""))
        told = {}
        for name, tell, second_looks in (("honest", story.honest, 1), ("poisoned", story.poisoned, 0)):
            say(f"== {name}")
            url = embedded.fresh_database(postgres)
            settings = settings_of(name, url, broker.url, made, second_looks=second_looks)
            told[name] = tell(Installation(settings, stack), made)
    result = {
        "command": f"python -m benchmarks.retraining --uploads {given.uploads} --others {given.others}",
        "machine": f"{platform.machine()}, {os.cpu_count()} shared cores, Python {platform.python_version()}",
        "family": repr(pictures.LATER),
        "uploads": len(made.uploads), "others": len(made.others), "old": len(made.old),
        **told,
    }  # fmt: skip
    sys.stdout.write(json.dumps(result, indent=1, default=str) + "\n")
    if given.page:
        page.write(page.PAGE, json.loads(json.dumps(result, default=str)))


def say(text: str) -> None:
    """Talk, to standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
