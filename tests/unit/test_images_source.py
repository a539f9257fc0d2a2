"""Sources: what an id may lead to, and what each way of not getting a picture is called."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import fsspec
import pytest

from moderation.errors import ConfigurationError, ImageRejected, ImageUnavailable, RejectReason
from moderation.images import ImageSource, open_source
from tests.waiting import GENEROUS_S


def _reason(source: ImageSource, image_id: str) -> RejectReason:
    with pytest.raises(ImageRejected) as caught:
        source.fetch(image_id)
    return caught.value.reason


BAD_IDS = {
    "": RejectReason.BAD_ID,
    "a\0b": RejectReason.BAD_ID,
    "x" * 3000: RejectReason.BAD_ID,
    "\ud800": RejectReason.BAD_ID,
    "../outside.jpg": RejectReason.FORBIDDEN,
    "sub/../../outside.jpg": RejectReason.FORBIDDEN,
    "..\\outside.jpg": RejectReason.FORBIDDEN,
    "..": RejectReason.FORBIDDEN,
    "/etc/passwd": RejectReason.FORBIDDEN,
}


class TestFolder:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        root = tmp_path / "pictures"
        (root / "sub").mkdir(parents=True)
        (root / "sub" / "ünï code.jpg").write_bytes(b"12345")
        (tmp_path / "outside.jpg").write_bytes(b"secret")
        return root

    @pytest.fixture
    def source(self, root: Path) -> ImageSource:
        return open_source(str(root), max_bytes=10)

    def test_ids_are_paths_below_the_folder(self, root: Path, source: ImageSource) -> None:
        assert source.fetch("sub/ünï code.jpg") == b"12345"
        assert open_source(root.as_uri()).fetch("sub/ünï code.jpg") == b"12345"

    @pytest.mark.parametrize("image_id", BAD_IDS, ids=repr)
    def test_bad_ids_are_refused(self, source: ImageSource, image_id: str) -> None:
        assert _reason(source, image_id) is BAD_IDS[image_id]

    def test_what_is_not_there_or_no_file(self, root: Path, source: ImageSource) -> None:
        assert _reason(source, "missing.jpg") is RejectReason.NOT_FOUND
        assert _reason(source, "sub/ünï code.jpg/x") is RejectReason.NOT_FOUND
        assert _reason(source, "sub") is RejectReason.BAD_ID
        assert _reason(source, "y" * 400) is RejectReason.BAD_ID
        os.mkfifo(root / "pipe.jpg")  # reading it would wait for ever
        assert _reason(source, "pipe.jpg") is RejectReason.BAD_ID

    def test_links_may_not_lead_out(self, root: Path, source: ImageSource) -> None:
        (root / "out.jpg").symlink_to(root.parent / "outside.jpg")
        (root / "up").symlink_to(root.parent)
        (root / "in.jpg").symlink_to(root / "sub" / "ünï code.jpg")
        (root / "loop.jpg").symlink_to(root / "loop.jpg")
        assert _reason(source, "out.jpg") is RejectReason.FORBIDDEN
        assert _reason(source, "up/outside.jpg") is RejectReason.FORBIDDEN
        assert _reason(source, "loop.jpg") is RejectReason.FORBIDDEN
        assert source.fetch("in.jpg") == b"12345"

    def test_large_files_are_refused_unread(self, root: Path, source: ImageSource) -> None:
        with (root / "huge.jpg").open("wb") as file:
            file.truncate(2**40)  # a hole: reading it would fill the memory
        assert _reason(source, "huge.jpg") is RejectReason.TOO_MANY_BYTES
        (root / "just.jpg").write_bytes(bytes(10))
        assert source.fetch("just.jpg") == bytes(10)

    def test_a_folder_that_went_away_may_come_back(self, root: Path, source: ImageSource) -> None:
        root.rename(root.with_name("unmounted"))
        with pytest.raises(ImageUnavailable):
            source.fetch("sub/ünï code.jpg")

    def test_a_folder_must_be_there_at_the_start(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError) as caught:
            open_source(str(tmp_path / "nowhere"))
        assert caught.value.setting == "MODERATION_IMAGES"


class TestFsspec:
    @pytest.fixture
    def source(self) -> Iterator[ImageSource]:
        memory = fsspec.filesystem("memory")
        memory.pipe("/bucket/sub/a b.jpg", b"12345")
        memory.pipe("/bucket/large.jpg", bytes(11))
        memory.pipe("/outside.jpg", b"secret")
        yield open_source("memory://bucket", max_bytes=10)
        memory.store.clear()

    def test_ids_are_keys_below_the_url(self, source: ImageSource) -> None:
        assert source.fetch("sub/a b.jpg") == b"12345"
        assert _reason(source, "missing.jpg") is RejectReason.NOT_FOUND
        assert _reason(source, "sub") is RejectReason.BAD_ID
        assert _reason(source, "large.jpg") is RejectReason.TOO_MANY_BYTES

    @pytest.mark.parametrize("image_id", BAD_IDS, ids=repr)
    def test_bad_ids_are_refused(self, source: ImageSource, image_id: str) -> None:
        assert _reason(source, image_id) is BAD_IDS[image_id]

    def test_sizes_are_checked_even_when_the_store_hides_them(
        self, source: ImageSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.info", lambda *_: {"type": "file"})
        assert _reason(source, "large.jpg") is RejectReason.TOO_MANY_BYTES

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (TimeoutError("slow"), ImageUnavailable),
            (OSError("network is down"), ImageUnavailable),
            (RuntimeError("a vendor's own kind"), ImageUnavailable),
            (PermissionError("signed in?"), ImageRejected),
            (IsADirectoryError("x"), ImageRejected),
        ],
    )
    def test_a_drivers_errors_have_our_names(
        self, source: ImageSource, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[Exception]
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.cat_file", fail)
        with pytest.raises(expected):
            source.fetch("sub/a b.jpg")

    def test_a_missing_driver_names_its_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "s3fs", None)  # as if it were not installed
        with pytest.raises(ConfigurationError, match="pip install s3fs") as caught:
            open_source("s3://bucket/pictures")
        assert caught.value.setting == "MODERATION_IMAGES"

    def test_an_unknown_scheme_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="nosuch://"):
            open_source("nosuch://place")


Answer = Callable[[BaseHTTPRequestHandler], None]


def _send(status: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def _drip(handler: BaseHTTPRequestHandler) -> None:
    """Sends for ever (two minutes), a little at a time: no single wait is long."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1_200):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.1)


def _endless(handler: BaseHTTPRequestHandler) -> None:
    """Says no length and sends more than is allowed."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(bytes(100))


def _cut(handler: BaseHTTPRequestHandler) -> None:
    """Promises more than it sends."""
    _send(200, b"12", Content_Length="5")(handler)


class _Server(ThreadingHTTPServer):
    """Answers by path and remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []

    def url(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        answer = self.server.answers.get(unquote(self.path).removeprefix("/pictures/"), _send(404))
        try:
            answer(self)
        except OSError:
            return  # the client hung up, as it should

    def log_message(self, *_: object) -> None:
        """Quiet."""


class TestHttp:
    @pytest.fixture
    def server(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        with _Server() as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            yield server
            server.shutdown()
            thread.join()

    @pytest.fixture
    def source(self, server: _Server) -> Iterator[ImageSource]:
        source = open_source(f"{server.url()}/pictures/{{id}}", timeout_s=GENEROUS_S, max_bytes=10)
        yield source
        source.close()

    @pytest.fixture
    def hasty(self, server: _Server) -> Iterator[ImageSource]:
        source = open_source(f"{server.url()}/pictures/{{id}}", timeout_s=0.5, max_bytes=10_000)
        yield source
        source.close()

    def test_ids_are_percent_encoded(self, server: _Server, source: ImageSource) -> None:
        for image_id in ("a.jpg", "sub/ü b?c#d&e=%20.jpg", "http://elsewhere/x.jpg", "{id}"):
            server.answers[image_id] = _send(200, b"12345")
            assert source.fetch(image_id) == b"12345"
        assert server.asked[1] == "/pictures/sub/%C3%BC%20b%3Fc%23d%26e%3D%2520.jpg"

    @pytest.mark.parametrize("image_id", BAD_IDS, ids=repr)
    def test_bad_ids_are_refused_unasked(self, server: _Server, source: ImageSource, image_id: str) -> None:
        assert _reason(source, image_id) is BAD_IDS[image_id]
        assert server.asked == []

    @pytest.mark.parametrize(
        ("status", "reason"),
        [
            (404, RejectReason.NOT_FOUND),
            (410, RejectReason.NOT_FOUND),
            (204, RejectReason.NOT_FOUND),
            (401, RejectReason.FORBIDDEN),
            (403, RejectReason.FORBIDDEN),
            (451, RejectReason.FORBIDDEN),
        ],
    )
    def test_answers_that_will_not_change(
        self, server: _Server, source: ImageSource, status: int, reason: RejectReason
    ) -> None:
        server.answers["a.jpg"] = _send(status)
        assert _reason(source, "a.jpg") is reason

    @pytest.mark.parametrize(
        "answer",
        [_send(500), _send(503), _send(429), _send(408), _drip, _cut, lambda handler: handler.connection.close()],
        ids=["500", "503", "429", "408", "drip", "cut", "hangs up"],
    )
    def test_answers_that_may_change(self, server: _Server, hasty: ImageSource, answer: Answer) -> None:
        server.answers["a.jpg"] = answer
        began = time.monotonic()
        with pytest.raises(ImageUnavailable):
            hasty.fetch("a.jpg")
        assert time.monotonic() - began < 30  # 0.5 s were given, and one of them goes on for minutes

    def test_a_server_that_is_not_there(self, server: _Server) -> None:
        source = open_source("http://127.0.0.1:9/{id}", timeout_s=0.5)
        with pytest.raises(ImageUnavailable):
            source.fetch("a.jpg")
        source.close()

    @pytest.mark.parametrize("answer", [_send(200, bytes(11)), _endless], ids=["said", "not said"])
    def test_large_answers_are_not_read(self, server: _Server, source: ImageSource, answer: Answer) -> None:
        server.answers["a.jpg"] = answer
        assert _reason(source, "a.jpg") is RejectReason.TOO_MANY_BYTES

    def test_redirects_are_followed_within_the_hosts(self, server: _Server, source: ImageSource) -> None:
        server.answers["a.jpg"] = _send(302, Location="/pictures/b.jpg")
        server.answers["b.jpg"] = _send(200, b"12345")
        assert source.fetch("a.jpg") == b"12345"

    @pytest.mark.parametrize("target", ["http://localhost:{port}/pictures/b.jpg", "file:///etc/passwd", "//[::1]/x"])
    def test_redirects_elsewhere_are_refused(self, server: _Server, source: ImageSource, target: str) -> None:
        server.answers["a.jpg"] = _send(302, Location=target.format(port=server.server_port))
        server.answers["b.jpg"] = _send(200, b"secret")
        assert _reason(source, "a.jpg") is RejectReason.FORBIDDEN
        assert server.asked == ["/pictures/a.jpg"]

    def test_more_hosts_may_be_allowed(self, server: _Server) -> None:
        server.answers["a.jpg"] = _send(302, Location=f"{server.url('localhost')}/pictures/b.jpg")
        server.answers["b.jpg"] = _send(200, b"12345")
        source = open_source(f"{server.url()}/pictures/{{id}}", hosts=["127.0.0.1", "LOCALHOST"])
        assert source.fetch("a.jpg") == b"12345"
        source.close()

    def test_redirects_without_end_are_refused(self, server: _Server, source: ImageSource) -> None:
        server.answers["a.jpg"] = _send(302, Location="/pictures/a.jpg")
        assert _reason(source, "a.jpg") is RejectReason.FORBIDDEN
        assert len(server.asked) < 10

    @pytest.mark.parametrize(
        ("template", "hosts"),
        [
            ("http://cdn.example.com/pictures", ()),
            ("http://{id}/x", ()),
            ("http:///{id}", ()),
            ("http://cdn.example.com/{id}", ("other.example.com", "*.cdn.example.com")),
        ],
    )
    def test_templates_that_can_not_be(self, template: str, hosts: tuple[str, ...]) -> None:
        with pytest.raises(ConfigurationError) as caught:
            open_source(template, hosts=hosts)
        assert caught.value.setting.startswith("MODERATION_IMAGE")

    def test_hosts_below_a_name(self) -> None:
        open_source("http://eu.cdn.example.com/{id}", hosts=["*.example.com"]).close()
        with pytest.raises(ConfigurationError):
            open_source("http://badexample.com/{id}", hosts=["*.example.com"])


@pytest.mark.parametrize("template", ["https://me:secret@host/", "https://me:secret@{id}/x"])
def test_a_refused_template_does_not_show_its_password(template: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_source(template)
    assert "secret" not in str(caught.value)
