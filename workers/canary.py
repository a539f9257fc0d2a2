"""A worker's canary: checked at its start, every so often, and when another prompt came into use.

A worker whose answers moved takes no more work at once, says so, and ends itself after what is under way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from moderation.errors import CanaryFailed, ConfigurationError
from moderation.flows.scanning.canary import Canary
from moderation.flows.scanning.witness import Checked

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often it is asked whether a check is due."""
_AGAIN_S = 30.0  # after a check that could say nothing


class CanaryWatch:
    """Keeps to one worker. `last_used` names the prompt in use; `end` is told the exit code of a worker that failed."""

    def __init__(
        self, canary: Canary, *, last_used: Callable[[], str | None], interval_s: float, end: Callable[[int], None]
    ) -> None:
        self._canary = canary
        self._last_used = last_used
        self._interval_s = interval_s
        self._end = end
        self._due = 0.0
        self._not_before = 0.0
        self._checked: Checked | None = None
        self._good_at = datetime.now(UTC)
        self._is_over = False

    def begin(self) -> None:
        """The first check. Raises CanaryFailed, ConfigurationError, ServiceDown."""
        try:
            self._check()
        except CanaryFailed as error:
            self._canary.report(error)
            raise

    def look(self) -> None:
        """A check, if one is due. Raises ServiceDown where it has to wait."""
        now = time.monotonic()
        if self._is_over or now < self._not_before:
            return
        is_same = self._checked is not None and self._last_used() == self._checked.prompt_id
        if is_same and now < self._due:
            return
        self._not_before = now + _AGAIN_S
        try:
            self._check()
        except CanaryFailed as error:
            self._fail(error)
        except ConfigurationError as error:
            log.error("the canary can't be checked: %s", error)

    def _check(self) -> None:
        began, when = time.monotonic(), datetime.now(UTC)
        self._checked = checked = self._canary.check()
        self._due, self._not_before, self._good_at = began + self._interval_s, 0.0, when
        told = "are recorded as the known ones" if checked.is_first else "are the known ones"
        log.log(
            logging.INFO if checked.is_first else logging.DEBUG,
            "canary: the answers of prompt %s to %d pictures %s",
            checked.prompt_id,
            len(checked.answers),
            told,
        )

    def _fail(self, error: CanaryFailed) -> None:
        self._is_over = True
        self._canary.looker.halt.halt(error)
        since = self._good_at.isoformat(timespec="seconds")
        log.critical(
            "this worker takes no more work and ends itself: %s\n  what it scored since %s is in doubt: "
            "modctl rescore --again --since %s",
            error,
            since,
            since,
            extra={"event": "canary failed"},
        )
        self._canary.report(error, good_until=since)
        self._end(error.exit_code)
