"""The web app's door: submit images, read verdicts. Loads no torch."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from moderation.domain.submission import Receipt, State, check_image_id
from moderation.domain.verdict import Decision, Verdict
from moderation.errors import ImageFailed, NotYetScored, UnknownImage
from moderation.flows.reviewing.appeal import appeal
from moderation.flows.scanning.submit import submit
from moderation.settings import load_settings
from moderation.storage.events import By
from moderation.wiring import Wiring

# `wait` looks often at first, since most verdicts come within a second, and then less so.
_FIRST_LOOK_S = 0.05
_SLOWEST_LOOK_S = 1.0


class Moderation:
    """Asks for verdicts and reads them. Safe to share between threads; make one per process and keep it.

    Settings come from MODERATION_* variables and `.env`; keyword arguments (`database_url=`, `broker_url=`, ...) go
    before them. Nothing connects before the first call. Calls raise ServiceDown when SQL does not answer, and
    ConfigurationError when a setting or the schema is wrong.
    """

    def __init__(self, **settings: Any) -> None:
        self._wiring = Wiring(load_settings(**settings))

    def submit(
        self, image_id: str, *, source: str = "default", priority: int = 0, force: bool = False, uploader: str = ""
    ) -> Receipt:
        """Asks for a verdict on one image.

        `image_id` is what the image source understands: a path below the folder, a key, or what {id} stands for.
        `source` groups images for policies and figures (a country, an upload form, an API client). Above 0, `priority`
        overtakes. A known id is a no-op unless `force`. `uploader` is your name for who uploaded it, as stable as you
        can: no one uploader may teach a retraining much. Once this returns, the image is not lost any more;
        `queued=False` in the receipt says that the broker was away and the verdict will take a little longer.
        """
        return self.submit_many([image_id], source=source, priority=priority, force=force, uploader=uploader)

    def submit_many(
        self,
        image_ids: Iterable[str],
        *,
        source: str = "default",
        priority: int = 0,
        force: bool = False,
        uploader: str | Mapping[str, str] = "",
    ) -> Receipt:
        """Asks for verdicts on all these images, all or none. Raises ValueError for ids that can't be.

        `uploader`: of them all, or of each by its id.
        """
        return submit(
            image_ids,
            submissions=self._wiring.submissions,
            bell=self._wiring.bell,
            batch_size=self._wiring.settings.batch_size,
            source=source,
            priority=priority,
            force=force,
            uploader=uploader,
        )

    def verdict(self, image_id: str) -> Verdict | None:
        """The image's newest verdict; None while it is on its way.

        Raises UnknownImage when nobody submitted it, ImageFailed (with `reason`) when it could not be scored.
        """
        known = check_image_id(image_id)
        submission = self._wiring.submissions.get(known)
        if submission is None:
            raise UnknownImage(image_id)
        if submission.state is State.FAILED:
            raise ImageFailed(image_id, submission.reason, submission.detail)
        if submission.state is State.PENDING:
            return None
        return self._wiring.verdicts.latest([known]).get(known)

    def verdicts(
        self,
        *,
        source: str | None = None,
        decision: Decision | None = None,
        since: datetime | None = None,
        limit: int | None = 100,
    ) -> list[Verdict]:
        """Verdicts that fit all that is given, the newest first. `since` is an aware time; `limit` None: all."""
        return self._wiring.verdicts.list(source=source, decision=decision, since=since, limit=limit)

    def wait(self, image_id: str, timeout_s: float = 30.0) -> Verdict:
        """The verdict, once it is there. Raises NotYetScored after `timeout_s`, and what `verdict` raises."""
        deadline = time.monotonic() + timeout_s
        pause = _FIRST_LOOK_S
        while (verdict := self.verdict(image_id)) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise NotYetScored(image_id, timeout_s)
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, _SLOWEST_LOOK_S)
        return verdict

    def appeal(self, image_id: str, reason: str, *, actor: str = "platform") -> bool:
        """Asks for other eyes on an image that has a verdict; True when the appeal was opened, False: one is open.

        `reason` is shown to the reviewer and kept in the audit trail, with `actor`. Raises UnknownImage, NotYetScored,
        and ValueError for an empty reason.
        """
        return appeal(
            image_id,
            by=By(actor, reason),
            submissions=self._wiring.submissions,
            verdicts=self._wiring.verdicts,
            tasks=self._wiring.review_tasks,
        )

    def close(self) -> None:
        """Closes the connections."""
        self._wiring.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
