"""The loop closes: a family nobody has seen is reviewed, learned, judged and swapped in; a liar is stopped at the gate.

The steps are those of `python -m benchmarks.retraining`, whose figures stand in docs/retraining.md. Here both stories
are told at the same time, by workers of one core each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from benchmarks.retraining import pictures, story
from benchmarks.retraining.installation import Installation, settings_of
from benchmarks.retraining.pictures import Pictures
from moderation import embedded
from moderation.domain.prompt import PromptState
from moderation.embedded import Server

pytestmark = pytest.mark.timeout(900)
Tell = Callable[[Installation, Pictures], dict[str, Any]]


@dataclass(frozen=True)
class Tale:
    """A story that was told, and its installation, which still stands."""

    at: Installation
    told: dict[str, Any]


@pytest.fixture(scope="module")
def tales(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: Server, without_variables: None
) -> Iterator[dict[str, Future[Tale]]]:
    """The honest story on PostgreSQL, the poisoned one on SQLite. One that fails fails the test that asks for it."""
    made = pictures.make(tmp_path_factory.mktemp("story"), 200, 100, lambda _: None)
    postgres_url = embedded.fresh_database(postgres_server)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack, ThreadPoolExecutor(2) as tellers:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.chdir(made.folder)
        broker_url = stack.enter_context(embedded.redis_server(named="")).url

        def begin(tell: Tell, database_url: str, second_looks: float) -> Future[Tale]:
            settings = settings_of(tell.__name__, database_url, broker_url, made, second_looks=second_looks)
            at = Installation(settings, stack)
            return tellers.submit(lambda: Tale(at, tell(at, made)))

        yield {
            "honest": begin(story.honest, postgres_url, 1),
            "poisoned": begin(story.poisoned, f"sqlite:///{made.folder}/poisoned.db", 0),
        }
    embedded.drop_database(postgres_server, postgres_url)


def test_reviewed_fakes_of_an_unseen_family_make_the_running_worker_better(tales: dict[str, Future[Tale]]) -> None:
    tale = tales["honest"].result()
    told = tale.told

    others, old = told["others"], told["old"]
    assert others["auc_before"] < 0.8, "the shipped prompt knows the family: the story shows nothing"
    assert others["auc_difference"]["value"] >= 0.05
    assert others["auc_difference"]["low"] > 0
    assert old["auc_difference"]["low"] >= -0.02
    run = told["run"]
    assert run["state"] == "passed"
    assert told["prompts_after"] == [run["prompt_id"]]
    counts = run["metrics"]["counts"]
    assert set(counts["source"]) == {"uploads"}  # none of the others was reviewed
    assert counts["images"] + counts["left_out"]["people differ"] == 400
    assert told["answers"] == 800
    states = {record.prompt_id: record.state for record in tale.at.wiring.prompts.list()}
    assert states[run["prompt_id"]] is PromptState.ACTIVE
    assert states[run["parent"]] is PromptState.RETIRED


def test_flipped_labels_are_refused_by_what_the_prompt_must_not_forget(tales: dict[str, Future[Tale]]) -> None:
    tale = tales["poisoned"].result()
    at, run = tale.at, tale.told["run"]

    assert run["state"] == "refused"
    assert any(reason.startswith("replay") for reason in run["metrics"]["gate"]["reasons"])
    assert at.wiring.prompts.find(run["prompt_id"]).state is PromptState.CANDIDATE
    refused = at.run("prompt", "activate", run["prompt_id"], "--reason", "it is there", "--yes")
    assert refused.returncode == story.EXIT_REFUSED
    assert "--force" in refused.stderr
    active = at.wiring.prompts.active("miniature")
    assert active is not None
    assert active.prompt_id == run["parent"]
