"""Submit: the rows are committed first, then the bell rings. A bell that can't ring loses nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from moderation.domain.submission import ImageId, Receipt, check_image_id, check_uploader
from moderation.errors import ServiceDown
from moderation.queue.bell import Bell
from moderation.storage.submissions import Submissions, chunks

log = logging.getLogger(__name__)

MAX_SOURCE_CHARS = 200
MAX_PRIORITY = 1000


def submit(
    image_ids: Iterable[str],
    *,
    submissions: Submissions,
    bell: Bell,
    batch_size: int,
    source: str = "default",
    priority: int = 0,
    force: bool = False,
    uploader: str | Mapping[str, str] = "",
) -> Receipt:
    """Asks for verdicts on `image_ids`, in one transaction.

    A priority above 0 goes to the urgent queue; among waiting images the higher goes first. Known ids are no-ops
    unless `force`. `uploader` names who uploaded them all, or by id who uploaded each; '' is unknown. Raises ValueError
    for ids, sources, priorities and uploaders that can't be, before anything is written; ServiceDown when SQL does not
    answer.
    """
    checked = [check_image_id(raw) for raw in image_ids]
    if not source or len(source) > MAX_SOURCE_CHARS or not source.isprintable():
        raise ValueError(f"a source has 1 to {MAX_SOURCE_CHARS} printable characters: {source[:60]!r}")
    if abs(priority) > MAX_PRIORITY:
        raise ValueError(f"a priority lies in -{MAX_PRIORITY}..{MAX_PRIORITY}, not {priority}")
    by: str | dict[ImageId, str]
    if isinstance(uploader, Mapping):
        by = {image_id: check_uploader(uploader.get(image_id, "")) for image_id in checked}
    else:
        by = check_uploader(uploader)
    taken = submissions.add(checked, source=source, priority=priority, force=force, uploader=by)
    try:
        bell.ring(list(chunks(taken, batch_size)), priority=priority)
        queued = True
    except ServiceDown as error:
        log.warning("%d images are stored but nobody was told; a worker's sweep will find them (%s)", len(taken), error)
        queued = False
    return Receipt(new=len(taken), known=len(set(checked)) - len(taken), queued=queued)
