"""Evidence: what the labels so far say about all images of a scope, and how complete they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from moderation.domain.evidence import DrawnImage, Kind, LabelledImage, Rule, Scope
from moderation.domain.review import Answer, derive_label
from moderation.domain.verdict import Decision
from moderation.evaluation.estimate import Population, cells_of
from moderation.storage.drawn import Drawn
from moderation.storage.replay import Counted, Replay
from moderation.storage.reviewers import Reviewers
from moderation.storage.reviews import Reviews


@dataclass(frozen=True, slots=True)
class Evidence:
    """The images of a scope, those that were drawn, and those with a label. `scope` names the prompt they go by.

    `now` and `then` are the images as the two rules decide them, with what the labels say.
    """

    scope: Scope
    counted: Counted
    drawn: Sequence[DrawnImage]
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
        drawn = Counter(image.kind for image in self.drawn)
        labelled = Counter(label.image.kind for label in self.labelled)
        order = sorted(images, key=lambda kind: (list(Decision).index(kind.decision), kind.rate))
        return [Coverage(kind, images[kind], drawn[kind], labelled[kind]) for kind in order]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many images of a kind there are, were drawn, and have a label."""

    kind: Kind
    images: int
    drawn: int
    labelled: int


@dataclass(frozen=True, slots=True)
class Archive:
    """Where the evidence lies."""

    replay: Replay
    drawn: Drawn
    reviews: Reviews
    reviewers: Reviewers

    def gather(self, scope: Scope, before: Rule, after: Rule) -> Evidence:
        """All that is known of the scope. Without a prompt named, the one that scored last: scores of different
        prompts don't compare."""
        if scope.prompt_id is None:
            scope = replace(scope, prompt_id=self.replay.newest_prompt(scope.source))
        drawn = self.drawn.list(scope)
        labelled = self._label(drawn)
        counted = self.replay.count(scope, before, after)
        then = Population(cells_of(counted.groups), labelled, after)
        if before == after:
            return Evidence(scope, counted, drawn, labelled, then, then)
        as_now = [replace(group, after=group.before) for group in counted.groups]
        now = Population(cells_of(as_now), labelled, before)
        return Evidence(scope, counted, drawn, labelled, now, then)

    def _label(self, drawn: Sequence[DrawnImage]) -> list[LabelledImage]:
        """Weak labels count, disputed ones and images that all were unsure about don't."""
        answered = [image for image in drawn if image.is_reviewed]
        reviews = self.reviews.of_images([image.image_id for image in answered])
        trusted = self.reviewers.trusted()
        labelled = []
        for image in answered:
            label = derive_label(reviews.get(image.image_id, []), trusted)
            if label.answer is not None:
                labelled.append(LabelledImage(image, label.answer is Answer.FAKE, label.trust))
        return labelled
