"""What a private server needs of the operating system: port, account that is not root, folder, environment."""

from __future__ import annotations

import os
import pwd
import random
import socket
import stat
import tempfile
from pathlib import Path

from moderation.errors import ConfigurationError

# Below the range that systems give to outgoing connections: a client that keeps knocking at a killed server's port from
# inside that range connects to itself sooner or later, and the server can't have its port back.
_PORTS = range(20_000, 30_000)
_ACCOUNTS = ("postgres", "nobody")
_TRIES = 100


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    for port in random.sample(_PORTS, _TRIES):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ConfigurationError("127.0.0.1", f"no free TCP port between {_PORTS.start} and {_PORTS.stop - 1}")


def ordinary_account() -> str | None:
    """The account for a program that refuses to run as root; None: the one we have is ordinary."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    for account in _ACCOUNTS:
        if account in known:
            return account
    raise ConfigurationError("root", f"has none of the accounts {', '.join(_ACCOUNTS)} to run a private PostgreSQL as")


def place_for(account: str | None) -> str:
    """The folder for temporary folders; for another `account`, one that everybody may walk into."""
    usual = tempfile.gettempdir()
    if account is None:
        return usual
    return next((place for place in (usual, "/tmp", "/var/tmp") if _open_to_all(Path(place))), usual)


def server_environment() -> dict[str, str]:
    """Our environment without what would change a server's ways: locale and PostgreSQL's own variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}


def _open_to_all(folder: Path) -> bool:
    resolved = folder.resolve()
    return all(path.is_dir() and path.stat().st_mode & stat.S_IXOTH for path in (resolved, *resolved.parents))
