"""The example web app, asked over HTTP as a browser would: upload, wait, look."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from moderation.embedded.system import free_port
from moderation.miniature import samples

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path: Path, sqlite_url: str, broker_url: str) -> Iterator[httpx.Client]:
    variables = {
        "MODERATION_DATABASE_URL": sqlite_url,
        "MODERATION_BROKER_URL": broker_url,
        "MODERATION_IMAGES": str(tmp_path / "uploads"),
    }
    environment = {**os.environ, **variables}
    subprocess.run([sys.executable, "-m", "moderation", "db", "upgrade"], env=environment, check=True, cwd=tmp_path)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT / "examples"), "web_app:app", "--port", str(port)]
    process = subprocess.Popen([*command, "--log-level", "warning"], env=environment, cwd=tmp_path)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            _wait_for(client, process)
            yield client
    finally:
        process.terminate()
        process.wait()


def _wait_for(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client.get("/docs")
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the example web app did not start")


def test_an_upload_is_taken_and_being_checked(site: httpx.Client) -> None:
    picture = samples()[0].path.read_bytes()
    name = site.post("/pictures", content=picture).raise_for_status().json()["id"]
    assert site.get(f"/pictures/{name}").json() == {"state": "being checked"}


def test_a_picture_nobody_uploaded_is_404(site: httpx.Client) -> None:
    assert site.get("/pictures/none.img").status_code == 404
