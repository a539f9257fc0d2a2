"""Pictures: for whoever holds their task, as they are, within limits, and by task alone."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from moderation.domain.review import Role
from moderation.images.display import MAX_SIDE
from moderation.settings import load_settings
from moderation.web.app import create_app
from moderation.web.site import Site
from moderation.wiring import Wiring
from tests.store import Store
from tests.visitor import Visitor, held
from tests.website import Website, open_website


def test_a_small_picture_arrives_to_the_byte(website: Website) -> None:
    (name,) = website.add_pictures(1)
    visitor = Visitor.logged_in(website)
    task = visitor.post("next").json()["task"]
    for address in (task["picture"], f"{task['picture']}/original"):
        answer = visitor.client.get(address)
        assert answer.content == (website.images / name).read_bytes()
        assert answer.headers["content-type"] == "image/png"
        assert (answer.headers["x-picture-size"], answer.headers["x-picture-original"]) == ("320x200", "1")
        assert answer.headers["cache-control"] == "no-store"


def test_a_large_picture_is_made_smaller_and_its_real_pixels_are_to_be_had(website: Website) -> None:
    (name,) = website.add_pictures(1, size=(MAX_SIDE + 952, 1500))
    visitor = Visitor.logged_in(website)
    task = visitor.post("next").json()["task"]
    small = visitor.client.get(task["picture"])
    assert small.headers["content-type"] == "image/jpeg"
    assert (small.headers["x-picture-size"], small.headers["x-picture-original"]) == ("3000x1500", "0")
    assert Image.open(io.BytesIO(small.content)).size == (MAX_SIDE, MAX_SIDE // 2)
    assert visitor.client.get(f"{task['picture']}/original").content == (website.images / name).read_bytes()


def test_a_picture_is_shown_to_whoever_holds_its_task_and_only_so_long(website: Website) -> None:
    website.add_pictures(2)
    ann = Visitor.logged_in(website, "ann")
    task = ann.post("next").json()["task"]
    others = [Visitor.logged_in(website, "bob"), Visitor.logged_in(website, "eve", Role.ADMIN)]
    unasked = next(each for each in website.wiring.review_tasks.list() if each.claimed_by is None)
    for address in (task["picture"], f"{task['picture']}/original"):
        assert [other.client.get(address).status_code for other in others] == [404, 404]
        assert Visitor(website.app).client.get(address).status_code == 401
    assert ann.client.get(f"/pictures/{unasked.task_id}").status_code == 404
    ann.answer(task)
    assert ann.client.get(task["picture"]).status_code == 404


@pytest.mark.parametrize(
    "address", ["/pictures/0", "/pictures/-1", f"/pictures/{2**80}", "/pictures/000.png", "/pictures/..%2f000.png",
                "/static/..%2fapp.py", "/static/../app.py", "/static/%2e%2e/app.py"]
)  # fmt: skip
def test_no_path_leads_to_a_file(website: Website, address: str) -> None:
    website.add_pictures(1)
    visitor = Visitor.logged_in(website)
    visitor.post("next")
    assert visitor.client.get(address).status_code in {404, 422}


@pytest.mark.parametrize(
    ("content", "said"), [(b"<script>alert(1)</script>", "not an image"), (b"", "not an image"), (None, "not found")]
)
def test_what_is_no_picture_is_named_and_never_sent(website: Website, content: bytes | None, said: str) -> None:
    (name,) = website.add_pictures(1)
    (website.images / name).unlink()
    if content is not None:
        (website.images / name).write_bytes(content)
    visitor = Visitor.logged_in(website)
    task = visitor.post("next").json()["task"]
    for address in (task["picture"], f"{task['picture']}/original"):
        answer = visitor.client.get(address)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["error"] == f"This picture can't be shown: {said}."
    assert visitor.post("skip", held(task)).status_code == 200


def test_too_many_pixels_are_not_decoded(website: Website) -> None:
    website.add_pictures(1)
    settings = website.wiring.settings.model_dump()
    wiring = Wiring(load_settings(**{**settings, "max_image_pixels": 1000}))
    visitor = Visitor(create_app(Site(wiring)))
    visitor.log_in(website.add_reviewer("ann"))
    task = visitor.post("next").json()["task"]
    assert visitor.client.get(task["picture"]).json()["error"] == "This picture can't be shown: too many pixels."
    wiring.close()


def test_a_source_that_is_away_is_told(store: Store, tmp_path: Path) -> None:
    with open_website(store, tmp_path) as website:
        website.add_pictures(1)
        settings = website.wiring.settings.model_dump()
        wiring = Wiring(load_settings(**{**settings, "images": "http://127.0.0.1:9/{id}"}))
        visitor = Visitor(create_app(Site(wiring)))
        visitor.log_in(website.add_reviewer("ann"))
        answer = visitor.client.get(visitor.post("next").json()["task"]["picture"])
        assert (answer.status_code, answer.json()["kind"]) == (503, "no_picture")
        wiring.close()
