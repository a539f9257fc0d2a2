"""The HTTP server under both commands: a socket, and uvicorn on it until it is told to end."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from moderation.errors import ConfigurationError

_BACKLOG = 128
_GRACE_S = 5  # for what is under way when the server ends


def listen(host: str, port: int) -> socket.socket:
    """A socket that connections wait at from now on. Raises ConfigurationError, which names --host or --port."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise ConfigurationError("--host", f"{host!r} is no address of this machine: {error.strerror}") from None
    door = socket.socket(family, socket.SOCK_STREAM)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
        door.listen(_BACKLOG)
    except OSError as error:
        door.close()
        problem = f"can't listen on {host} port {port}: {error.strerror}"
        raise ConfigurationError("--port", problem, hint="name another one, such as --port 8801") from None
    return door


def serve(app: FastAPI, door: socket.socket, *, cert: Path | None = None, key: Path | None = None) -> None:
    """Answers until Ctrl-C or TERM. X-Forwarded-For and -Proto are believed from a proxy on this machine alone."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # an address may hold a token
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
        ssl_certfile=cert,
        ssl_keyfile=key,
    )
    signal.signal(signal.SIGTERM, _interrupt)  # as Ctrl-C: what comes after is still done
    try:
        uvicorn.Server(config).run(sockets=[door])
    except KeyboardInterrupt:
        return  # uvicorn has ended in peace, and passes the signal on


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
