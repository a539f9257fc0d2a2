"""A limit on what a request may bring: the largest thing that anybody sends here is a note."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

MAX_BYTES = 64_000


class SmallBodies:
    """Refuses bodies that are too large, or don't say how large they are, unread."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_small(Headers(scope=scope)):
            refusal = JSONResponse({"kind": "too_large", "error": "That is too much to send."}, status_code=413)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_small(headers: Headers) -> bool:
    length = headers.get("content-length", "0")
    return "transfer-encoding" not in headers and length.isdecimal() and int(length) <= MAX_BYTES
