"""What a server looks like to those who use one, and the server that somebody else runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self

from moderation.errors import ConfigurationError, ServiceDown
from moderation.settings import without_password


class Server(Protocol):
    """A running server. Use it as a context manager: it starts on entry, and leaves nothing behind on exit."""

    @property
    def url(self) -> str:
        """Where clients connect."""

    @property
    def origin(self) -> str:
        """Which server was taken, for a person."""

    @property
    def private(self) -> bool:
        """Claims that we started it, so that it may be killed, restarted and emptied."""

    @property
    def how_to_stop(self) -> str:
        """The command that ends and removes a server that was kept; '' for one that is not ours."""

    def start(self) -> None:
        """Start it, or start it again with the port and the data it had. Raises ServiceDown."""

    def stop(self) -> None:
        """End it in order; its data stay for another `start`."""

    def kill(self) -> None:
        """End it like a crash; its data stay for another `start`."""

    def close(self) -> None:
        """End it and remove its data, unless it is kept."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class NamedServer:
    """A server that the operator named. It is used, never started, stopped or emptied."""

    private = False
    how_to_stop = ""

    def __init__(self, variable: str, url: str, ping: Callable[[str], None]) -> None:
        """`ping` raises ServiceDown where no server answers at `url`."""
        self.variable = variable
        self.url = url
        self._ping = ping

    @property
    def origin(self) -> str:
        """See Server."""
        return f"the server that {self.variable} names ({without_password(self.url)})"

    def start(self) -> None:
        """Check that it answers. Raises ServiceDown: another one is never taken silently."""
        try:
            self._ping(self.url)
        except ServiceDown as error:
            raise ServiceDown(
                f"{self.variable} ({without_password(self.url)})",
                error.problem,
                hint=f"Start that server or correct {self.variable}; without the variable a private server is started.",
            ) from error

    def stop(self) -> None:
        """Refused: it is not ours."""
        raise ConfigurationError(self.variable, "names a server that is not ours to stop")

    def kill(self) -> None:
        """Refused: it is not ours."""
        self.stop()

    def close(self) -> None:
        """Nothing to do: it goes on."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
