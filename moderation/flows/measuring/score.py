"""Score: every labelled picture is read once, seen as it is and under each condition, and scored by each candidate.

Pictures never pile up: what is in memory is the batch on the device and the few that the readers have ready. A picture
that can't be read or scored is a row that says why. What was scored already is not scored again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from moderation.datasets.labelled import LabelledImage
from moderation.detector import Detector, Score
from moderation.detector.detector import score_together
from moderation.errors import ImageRejected
from moderation.evaluation.result import Subject
from moderation.evaluation.scorefile import ScoreFile
from moderation.evaluation.scores import ScoreRow
from moderation.flows.measuring.look import Look, Seen, key_of, see, shown
from moderation.images.views import Views

Result = Score | ImageRejected
_NAN = float("nan")


class Scorer(Protocol):
    """What can be evaluated: a Detector, or whatever scores the same views."""

    @property
    def native_crops(self) -> int: ...
    def score(self, views: Sequence[Views], sources: Sequence[str] = ()) -> Sequence[Result]: ...


@dataclass(frozen=True)
class Candidate:
    """A scorer under the name and the threshold that its figures are reported with. metadata: how it came about."""

    subject: Subject
    scorer: Scorer
    metadata: Mapping[str, Any] = field(default_factory=dict)


def score_pictures(
    images: Sequence[LabelledImage],
    *,
    candidates: Sequence[Candidate],
    look: Look,
    file: ScoreFile,
    readers: Executor,
    batch_size: int,
    advance: Callable[[int], None] = lambda pictures: None,
) -> None:
    """Scores what `file` lacks and writes it there. `advance` hears how many pictures are done, the old ones at once.

    At most `batch_size` views are scored at once, and about twice as many are ready.
    """
    done = file.done()
    waiting = [image for image in images if key_of(image) not in done]
    advance(len(images) - len(waiting))
    ahead = max(2 * batch_size // (1 + len(look.conditions)), 4)
    for batch in _batches(_read_ahead(waiting, look, readers, ahead), batch_size):
        rows = _score(batch, candidates, batch_size)
        file.add(rows, [seen.features for seen in batch if seen.features is not None])
        advance(len(batch))
    file.flush()


def _read_ahead(images: Iterable[LabelledImage], look: Look, readers: Executor, ahead: int) -> Iterator[Seen]:
    """The pictures in order, at most `ahead` of them being read or ready."""
    pending: deque[Future[Seen]] = deque()
    try:
        for image in images:
            pending.append(readers.submit(see, image, look))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def _batches(pictures: Iterable[Seen], views: int) -> Iterator[list[Seen]]:
    """Pictures with about `views` views together, at least one picture."""
    batch: list[Seen] = []
    for seen in pictures:
        if batch and sum(len(one.views) for one in batch) + len(seen.views) > views:
            yield batch
            batch = []
        batch.append(seen)
    if batch:
        yield batch


def _score(batch: Sequence[Seen], candidates: Sequence[Candidate], batch_size: int) -> list[ScoreRow]:
    places = [(seen, name, view) for seen in batch for name, view in seen.views.items() if isinstance(view, Views)]
    found: dict[tuple[int, str], tuple[Result, ...]] = {}  # by picture and condition, a result a candidate
    for start in range(0, len(places), batch_size):
        part = places[start : start + batch_size]
        columns = _ask(candidates, [view for *_, view in part], [seen.image.source for seen, *_ in part])
        for (seen, name, _), results in zip(part, zip(*columns, strict=True), strict=True):
            found[id(seen), name] = results
    return [
        _row(seen, candidate.subject.name, name, view if isinstance(view, ImageRejected) else found[id(seen), name][at])
        for seen in batch
        for at, candidate in enumerate(candidates)
        for name, view in seen.views.items()
    ]


def _ask(candidates: Sequence[Candidate], views: Sequence[Views], sources: Sequence[str]) -> list[Sequence[Result]]:
    """A list a candidate. Prompts on the same backbone are asked together, which spares passes through its ViT."""
    prompts = [scorer for candidate in candidates if isinstance(scorer := candidate.scorer, Detector)]
    together = iter(score_together(prompts, views, sources) if prompts else ())
    return [
        next(together) if isinstance(candidate.scorer, Detector) else candidate.scorer.score(views, sources)
        for candidate in candidates
    ]


def _row(seen: Seen, candidate: str, condition: str, result: Result) -> ScoreRow:
    image = seen.image
    margin, probability, error = _NAN, _NAN, ""
    if isinstance(result, ImageRejected):
        error = str(result)
    else:
        margin, probability = result.margin, result.probability
    return ScoreRow(
        candidate=candidate,
        condition=condition,
        set=image.set,
        path=shown(image.path),
        is_fake=image.is_fake,
        generator=image.generator,
        source=image.source,
        group=image.group,
        margin=margin,
        probability=probability,
        sha256=seen.sha256,
        error=error,
    )
