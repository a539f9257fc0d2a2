"""The loop closes: a family nobody has seen is reviewed, learned, judged and swapped in; a liar is stopped at the gate.

The steps are those of `python -m benchmarks.retraining`, whose figures stand in docs/retraining.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.retraining import pictures, story
from benchmarks.retraining.installation import Installation, settings_of
from benchmarks.retraining.pictures import Pictures
from moderation.domain.prompt import PromptState

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    return pictures.make(tmp_path_factory.mktemp("story"), 200, 100, lambda _: None)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def test_reviewed_fakes_of_an_unseen_family_make_the_running_worker_better(
    made: Pictures, stack: ExitStack, postgres_url: str, broker_url: str
) -> None:
    at = Installation(settings_of("honest", postgres_url, broker_url, made, second_looks=1), stack)
    told = story.honest(at, made)

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
    states = {record.prompt_id: record.state for record in at.wiring.prompts.list()}
    assert states[run["prompt_id"]] is PromptState.ACTIVE
    assert states[run["parent"]] is PromptState.RETIRED


def test_flipped_labels_are_refused_by_what_the_prompt_must_not_forget(
    made: Pictures, stack: ExitStack, tmp_path: Path, broker_url: str
) -> None:
    url = f"sqlite:///{tmp_path}/poisoned.db"
    at = Installation(settings_of("poisoned", url, broker_url, made, second_looks=0), stack)
    run = story.poisoned(at, made)["run"]

    assert run["state"] == "refused"
    assert any(reason.startswith("replay") for reason in run["metrics"]["gate"]["reasons"])
    assert at.wiring.prompts.find(run["prompt_id"]).state is PromptState.CANDIDATE
    refused = at.run("prompt", "activate", run["prompt_id"], "--reason", "it is there", "--yes")
    assert refused.returncode == story.EXIT_REFUSED
    assert "--force" in refused.stderr
    active = at.wiring.prompts.active("miniature")
    assert active is not None
    assert active.prompt_id == run["parent"]
