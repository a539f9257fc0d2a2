"""Evidence: what the labels so far say about all images of a scope, and how complete they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from moderation.domain.evidence import Kind, LabelledImage, Rule, Scope
from moderation.domain.review import Answer, derive_label
from moderation.domain.verdict import Decision
from moderation.evaluation.estimate import Population, cells_of
from moderation.storage.drawn import Drawn
from moderation.storage.replay import Counted, Replay
from moderation.storage.reviewing.reviewers import Reviewers


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many images of a kind there are, and have a label; `drawn` None: not counted."""

    kind: Kind
    images: int
    drawn: int | None
    labelled: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """The images of a scope and those with a label. `scope` names the prompt they go by.

    `drawn`: how many of each kind were, None if not counted. `now` and `then` are the images as the two rules decide
    them, with what the labels say.
    """

    scope: Scope
    counted: Counted
    drawn: Mapping[Kind, int] | None
    labelled: Sequence[LabelledImage]
    now: Population
    then: Population

    @property
    def images(self) -> int:
        """How many images the scope holds."""
        return sum(group.images for group in self.counted.groups)

    def kinds(self) -> list[Coverage]:
        """Each kind of image with how many were drawn and labelled, ALLOW first."""
        images: Counter[Kind] = Counter()
        for group in self.counted.groups:
            images[group.kind] += group.images
        labelled = Counter(label.image.kind for label in self.labelled)
        order = sorted(images, key=lambda kind: (list(Decision).index(kind.decision), kind.rate))
        drawn = self.drawn
        return [
            Coverage(kind, images[kind], None if drawn is None else drawn.get(kind, 0), labelled[kind])
            for kind in order
        ]


@dataclass(frozen=True, slots=True)
class Archive:
    """Where the evidence lies."""

    replay: Replay
    drawn: Drawn
    reviewers: Reviewers

    def gather(self, scope: Scope, before: Rule, after: Rule, *, count_drawn: bool = True) -> Evidence:
        """All that is known of the scope. Without a prompt named, the one that scored last: scores of different
        prompts don't compare."""
        if scope.prompt_id is None:
            scope = replace(scope, prompt_id=self.replay.newest_prompt(scope.source))
        labelled = self._label(scope)
        counted = self.replay.count(scope, before, after)
        drawn = self.drawn.count(scope) if count_drawn else None
        then = Population(cells_of(counted.groups), labelled, after)
        if before == after:
            return Evidence(scope, counted, drawn, labelled, then, then)
        as_now = [replace(group, after=group.before) for group in counted.groups]
        now = Population(cells_of(as_now), labelled, before)
        return Evidence(scope, counted, drawn, labelled, now, then)

    def _label(self, scope: Scope) -> list[LabelledImage]:
        """Weak labels count, disputed ones and images that all were unsure about don't."""
        reviews = self.drawn.reviews()
        trusted = self.reviewers.trusted()
        labelled = []
        for image in self.drawn.list(scope, only_reviewed=True):
            label = derive_label(reviews.get(image.image_id, []), trusted)
            if label.answer is not None:
                labelled.append(LabelledImage(image, label.answer is Answer.FAKE, label.trust))
        return labelled
