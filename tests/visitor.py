"""Somebody who visits the review page: a browser without scripts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from moderation.domain.review import Role
from tests.website import Website


class Visitor:
    """Keeps cookies, and sends what the page's script would."""

    def __init__(self, app: FastAPI, base: str = "http://moderation.example", address: str = "10.0.0.1") -> None:
        self.client = TestClient(app, base, client=(address, 5000), raise_server_exceptions=False)
        self.csrf = ""
        self.window = "first window"

    @classmethod
    def logged_in(cls, website: Website, name: str = "ann", role: Role = Role.REVIEWER) -> Visitor:
        visitor = cls(website.app)
        assert visitor.log_in(website.add_reviewer(name, role)).url.path == "/review"
        return visitor

    def log_in(self, token: str, *, follow: bool = True) -> Any:
        asked = self.client.get("/login").text
        field = re.search(r'name="csrf" value="([^"]+)"', asked)
        form = {"token": token, "csrf": field[1] if field else ""}
        answer = self.client.post("/login", data=form, follow_redirects=follow)
        meta = re.search(r'name="csrf-token" content="([^"]+)"', answer.text)
        self.csrf = meta[1] if meta else ""
        return answer

    def log_out(self) -> Any:
        return self.client.post("/logout", data={"csrf": self.csrf})

    def post(self, name: str, body: Mapping[str, Any] | None = None) -> Any:
        headers = {"X-CSRF-Token": self.csrf, "X-Window": self.window}
        return self.client.post(f"/api/{name}", json=dict(body or {}), headers=headers)

    def answer(self, task: Mapping[str, Any], choice: str = "real", **more: Any) -> Any:
        return self.post("answer", {**held(task), "answer": choice, "seconds": 2.5, **more})


def held(task: Mapping[str, Any]) -> dict[str, int]:
    """What a page says of the task it was given."""
    return {"task_id": task["task_id"], "version": task["version"]}
