"""modctl rescore by script, on the miniature and in one process."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from moderation.detector import SoftPrompt
from moderation.domain.prompt import PromptId
from moderation.domain.rescore import RescoreScope
from moderation.domain.submission import ImageId
from moderation.flows.registry.prompt import register
from moderation.miniature import PROMPT_FILE
from moderation.settings import load_settings
from moderation.storage.events import SYSTEM
from moderation.wiring import Wiring
from tests.command import Done, modctl, ok, refusal
from tests.e2e.conftest import picture


def scan_all() -> None:
    wiring = Wiring(load_settings())
    ids = [ImageId(row.image_id) for row in wiring.submissions.list(limit=None)]
    wiring.scanner().scan(ids)
    wiring.close()


def activate_twin(note: str) -> str:
    """The shipped prompt under another id, which says the same."""
    wiring = Wiring(load_settings())
    blob = dataclasses.replace(SoftPrompt.load(PROMPT_FILE), metadata={"note": note}).to_bytes()
    twin = register(wiring.prompts, blob, name=note)
    wiring.prompts.activate(twin.prompt_id)
    wiring.close()
    return twin.prompt_id


@pytest.fixture
def platform(installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Eight images with verdicts, and then another prompt became active: its id. No broker answers."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(8):
        (folder / f"{number}.jpg").write_bytes(picture(number))
    monkeypatch.setenv("MODERATION_IMAGES", str(folder))
    monkeypatch.setenv("MODERATION_DEVICE", "cpu")
    monkeypatch.setenv("MODERATION_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("MODERATION_ACTOR", "olga")
    ok("submit", *(f"{number}.jpg" for number in range(8)), "--source", "web")
    scan_all()
    return activate_twin("a twin")


def rounds() -> list[int]:
    return sorted(verdict["round"] for verdict in ok("verdicts", "--all", "--json").lines())


def events(kind: str) -> list[tuple[str, str]]:
    return [(event["actor"], event["reason"]) for event in ok("audit", "log", "--kind", kind, "--json").lines()]


def refused(done: Done) -> str:
    assert done.code == 2, done
    return done.err.rpartition("Error: ")[2].strip()


def test_from_the_first_score_to_the_new_verdicts(platform: str, tmp_path: Path) -> None:
    (tmp_path / "pictures" / "7.jpg").unlink()
    found = ok("rescore", "--local", "--rate", "1000", "--json").json()
    assert (found["run"]["state"], found["run"]["prompt_id"]) == ("done", platform)
    assert (found["run"]["images"], found["run"]["scored"], found["run"]["failed"]) == (8, 7, 1)
    assert (found["diff"]["images"], found["diff"]["changed"], found["applied"]) == (7, 0, None)
    assert found["diff"]["unscored"] == 1
    assert rounds() == [1] * 8

    shown = modctl("rescore", "--apply")  # no terminal to ask on
    assert "add --yes" in refused(shown)
    assert "0 of 7 images would get another decision (0.00 %)." in shown.out
    assert "1 image of the scope without a new score" in shown.out
    assert rounds() == [1] * 8

    applied = ok("rescore", "--apply", "--yes", "--reason", "it is better", "--json").json()
    assert (applied["applied"]["images"], applied["run"]["applied"], applied["run"]["state"]) == (7, 7, "applied")
    assert rounds() == [1] * 8 + [2] * 7
    assert events("rescore.apply") == [("olga", "it is better")]
    verdict = ok("verdicts", "0.jpg", "--json").lines()[0]
    assert (verdict["prompt_id"], verdict["versions"]["rescore"]) == (platform, str(found["run"]["run_id"]))
    assert ok("audit", "verify").code == 0


def test_what_the_active_prompt_scored_itself_is_scored_again_when_asked(platform: str) -> None:
    first = ok("rescore", "--local", "--rate", "1000", "--apply", "--yes", "--json").json()
    assert first["applied"]["images"] == 8
    assert ok("rescore", "--local", "--json").json()["diff"]["images"] == 0  # all verdicts are its own by now
    assert ok("rescore", "--local").out == (
        "Nothing to do: no image in its scope has a verdict by another prompt than the active one.\n"
    )
    again = ("rescore", "--local", "--rate", "1000", "--again", "--since", "2h")
    found = ok(*again, "--json").json()
    assert (found["run"]["images"], found["run"]["scored"], found["diff"]["images"]) == (8, 8, 8)
    assert rounds() == [1] * 8 + [2] * 8
    applied = ok(*again, "--apply", "--yes", "--json").json()
    assert applied["run"]["run_id"] == found["run"]["run_id"]
    assert (applied["applied"]["images"], applied["applied"]["changed"]) == (8, 0)
    assert rounds() == [1] * 8 + [2] * 8 + [3] * 8
    assert "those of the active prompt, too" in ok("rescore", "status").out
    later = ok(*again, "--json").json()
    assert later["run"]["run_id"] != found["run"]["run_id"]
    assert later["run"]["images"] == 8


def test_a_run_can_be_left_looked_at_and_ended(platform: str) -> None:
    left = ok("rescore", "--no-watch", "--source", "web", "--json")
    run = left.json()["run"]
    assert (run["state"], run["images"], run["scope"]["source"]) == ("queued", 8, "web")
    assert "does not answer. The run is stored" in left.err
    again = ok("rescore", "--no-watch", "--source", "web")
    assert f"Picked up: Run {run['run_id']} (source web, prompt {platform}): queued, 0 of 8 scored" in again.err
    assert "(source web) is under way" in refused(modctl("rescore", "--no-watch"))
    assert "queued" in ok("rescore", "status").out
    shown = ok("rescore", "status", run["run_id"]).out
    assert "at most 20 images a second" in shown
    ended = ok("rescore", "cancel", run["run_id"], "--yes", "--reason", "too slow", "--json").json()
    assert ended["state"] == "cancelled"
    assert events("rescore.cancel") == [("olga", "too slow")]
    assert [json.loads(line)["state"] for line in ok("rescore", "status", "--json").out.splitlines()] == ["cancelled"]


def test_doctor_names_a_run_that_no_worker_will_take(
    platform: str, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> list[tuple[str, str]]:
        findings = modctl("doctor", "--json").json()["findings"]
        return [(each["health"], each["seen"]) for each in findings if each["part"] == "rescoring"]

    assert found() == []
    run = ok("rescore", "--no-watch", "--json").json()["run"]["run_id"]
    assert found() == [("ok", f"run {run} is queued")]  # no broker answers, which is a finding of its own
    monkeypatch.setenv("MODERATION_BROKER_URL", broker_url)
    assert found() == [("warning", f"run {run} is queued, and no worker listens to backfill")]
    assert f"or end the run: modctl rescore cancel {run}" in modctl("doctor").out
    ok("rescore", "cancel", run, "--yes")
    assert found() == []


def test_an_interrupted_local_run_is_picked_up(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from moderation.storage.rescoring.batches import RescoreBatches

    settle = RescoreBatches.settle

    def once(self: RescoreBatches, *arguments: object) -> float | None:
        monkeypatch.setattr(RescoreBatches, "settle", settle)
        raise KeyboardInterrupt

    monkeypatch.setattr(RescoreBatches, "settle", once)
    left = modctl("rescore", "--local")
    assert left.code == 130
    assert "stays open" in left.err
    done = ok("rescore", "--local", "--rate", "7", "--json")
    assert "It goes at 20 images a second; --rate is for new runs." in done.err
    assert done.json()["run"]["scored"] == 8
    assert done.json()["run"]["run_id"] == 1


def test_what_can_not_be_is_refused_by_name(platform: str) -> None:
    assert "there is no 9" in refusal(modctl("rescore", "status", "9"))
    assert "--no-watch leaves the run to the workers" in refused(modctl("rescore", "--no-watch", "--apply"))
    assert "options go after status" in refused(modctl("rescore", "--source", "web", "status"))
    assert "neither a span" in refused(modctl("rescore", "--since", "yesterday-ish"))
    wiring = Wiring(load_settings())
    run = wiring.rescores.begin(PromptId(platform), RescoreScope(), rate=5.0, by=SYSTEM)
    wiring.close()
    activate_twin("another twin")
    assert ok("rescore", "--no-watch", "--json").json()["run"]["run_id"] != run.run_id
    told = ok("rescore", "status", run.run_id).out
    assert "is not the active prompt any more; begin anew: modctl rescore" in told
