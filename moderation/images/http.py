"""Pictures over http(s): a template with {id}, an allow-list of hosts, and limits on time, bytes and redirects."""

from __future__ import annotations

import time
from collections.abc import Sequence
from urllib.parse import quote

import httpx

from moderation.errors import ConfigurationError, ImageRejected, ImageUnavailable, RejectReason
from moderation.images.source import SETTING, check_id, too_many_bytes
from moderation.settings import without_password

PLACE = "{id}"
_MAX_REDIRECTS = 5
_LATER = {408, 425, 429}  # request timeout, too early, too many requests
_REASONS = {404: RejectReason.NOT_FOUND, 410: RejectReason.NOT_FOUND, 204: RejectReason.NOT_FOUND}


class HttpSource:
    """Fetches `template` with the id in the place of {id}, percent-encoded but for its slashes: ids may be paths."""

    def __init__(self, template: str, *, hosts: Sequence[str], timeout_s: float, max_bytes: int) -> None:
        """hosts: names, or `*.name` for all below a name. Raises ConfigurationError for an unusable template."""
        shown = without_password(template)
        if PLACE not in template:
            raise ConfigurationError(SETTING, f"{shown} has no {PLACE}", hint="like https://cdn.example.com/{id}")
        try:
            own = httpx.URL(template.replace(PLACE, "x")).host
        except httpx.InvalidURL as error:
            raise ConfigurationError(SETTING, f"{shown} is no URL: {error}") from None
        if not own or PLACE in template.split("/")[2]:
            raise ConfigurationError(SETTING, f"{shown} must name its host, without {PLACE} in it")
        self._template = template
        self._hosts = tuple(host.lower() for host in hosts) or (own.lower(),)
        if not self._allows(own):
            raise ConfigurationError(
                "MODERATION_IMAGE_HOSTS", f"{own}, the host of MODERATION_IMAGES, is not among them"
            )
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._client = httpx.Client(
            timeout=timeout_s,
            follow_redirects=False,  # each is checked against the hosts first
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            # Asked for as it is stored: a compressed answer would only hide its true size.
            headers={"Accept": "image/*, */*;q=0.1", "Accept-Encoding": "identity"},
        )

    def fetch(self, image_id: str) -> bytes:
        """The answer's bytes. Raises ImageRejected, ImageUnavailable."""
        check_id(image_id)
        ends_at = time.monotonic() + self._timeout_s
        try:
            url = httpx.URL(self._template.replace(PLACE, quote(image_id, safe="/")))
            for _ in range(_MAX_REDIRECTS + 1):
                with self._client.stream("GET", url) as response:
                    if not response.has_redirect_location:
                        _check_status(response)
                        return self._read(response, ends_at)
                    url = self._redirected(url, response)
        except httpx.InvalidURL as error:
            raise ImageRejected(RejectReason.BAD_ID, str(error)) from None
        except httpx.HTTPError as error:
            raise ImageUnavailable(f"{type(error).__name__}: {error}") from None
        raise ImageRejected(RejectReason.FORBIDDEN, f"more than {_MAX_REDIRECTS} redirects")

    def close(self) -> None:
        """Closes the connections that are kept alive."""
        self._client.close()

    def _read(self, response: httpx.Response, ends_at: float) -> bytes:
        declared = response.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            raise too_many_bytes(int(declared), self._max_bytes)
        data = bytearray()
        for chunk in response.iter_bytes():
            data += chunk
            if len(data) > self._max_bytes:
                raise too_many_bytes("more", self._max_bytes)
            if time.monotonic() > ends_at:
                raise ImageUnavailable(f"not read within {self._timeout_s:g} s")
        return bytes(data)

    def _redirected(self, url: httpx.URL, response: httpx.Response) -> httpx.URL:
        target = url.join(response.headers["location"])
        if target.scheme not in ("http", "https") or (url.scheme == "https" and target.scheme == "http"):
            raise ImageRejected(RejectReason.FORBIDDEN, f"redirected from {url.scheme} to {target.scheme}")
        if not self._allows(target.host):
            raise ImageRejected(RejectReason.FORBIDDEN, f"redirected to {target.host}, not in MODERATION_IMAGE_HOSTS")
        return target

    def _allows(self, host: str) -> bool:
        host = host.lower()
        return any(
            host == allowed or (allowed.startswith("*.") and host.endswith(allowed[1:])) for allowed in self._hosts
        )


def _check_status(response: httpx.Response) -> None:
    status = response.status_code
    if status == httpx.codes.OK:
        return
    if status in _LATER or status >= 500 or status < 200:
        raise ImageUnavailable(f"the server answers {status}")
    raise ImageRejected(_REASONS.get(status, RejectReason.FORBIDDEN), f"the server answers {status}")
