"""Everything in SQL that a test asks and works with, on a database that is ready for use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from moderation.domain.claim import Claim, ClaimedImage, Rejected, Scored, ScoredBy
from moderation.domain.image import ImageFacts
from moderation.domain.policy import ANY_SOURCE, PolicyId
from moderation.domain.submission import ImageId, State, Submission
from moderation.domain.verdict import Decision
from moderation.errors import RejectReason
from moderation.storage import schema
from moderation.storage.claims import Claims
from moderation.storage.database import Database
from moderation.storage.policies import Policies
from moderation.storage.registry.prompts import Prompts
from moderation.storage.submissions import Submissions
from moderation.storage.tables import Base
from moderation.storage.verdicts import Verdicts

FACTS = ImageFacts(sha256="ab" * 32, width=320, height=200, format="JPEG", bytes=12_345)
LONG_S = 60.0
# A claim under this lease is over before anybody looks: its worker is taken to have vanished.
OVER_S = -1.0


@dataclass(frozen=True)
class Store:
    """One migrated database with the default policy and one active prompt."""

    database: Database
    submissions: Submissions
    claims: Claims
    verdicts: Verdicts
    policies: Policies
    prompts: Prompts
    by: ScoredBy
    policy_id: PolicyId

    def add(self, *names: str, source: str = "default", priority: int = 0, force: bool = False) -> list[ImageId]:
        return self.submissions.add(ids(*names), source=source, priority=priority, force=force)

    def row(self, name: str) -> Submission:
        found = self.submissions.get(ImageId(name))
        assert found is not None
        return found

    def take(self, *names: str, limit: int = 64, lease_s: float = LONG_S) -> Claim:
        claim = self.claims.take(ids(*names), limit=limit, lease_s=lease_s)
        assert claim is not None
        return claim

    def alone(self, name: str, lease_s: float = LONG_S) -> Claim:
        claim = self.claims.take_alone(ImageId(name), lease_s=lease_s)
        assert claim is not None
        return claim

    def score(self, claim: Claim, probability: float = 0.25) -> list[ImageId]:
        """Settles the whole claim with this probability; returns what was refused."""
        return self.claims.settle(claim, [self.scored(image, probability) for image in claim.images], self.by)

    def scored(self, image: ClaimedImage, probability: float = 0.25) -> Scored:
        return Scored(image, FACTS, -1.5, probability, Decision.ALLOW, self.policy_id, latency_ms=7.0)

    def crash(self, *names: str) -> None:
        """A worker claims these alone, one by one, and vanishes."""
        for name in names:
            self.alone(name, lease_s=OVER_S)
        self.claims.expire()

    def states(self) -> dict[str, State]:
        return {row.image_id: row.state for row in self.submissions.list(limit=None)}


def ids(*names: str) -> list[ImageId]:
    return [ImageId(name) for name in names]


def taken(claim: Claim | None) -> set[str]:
    return {image.image_id for image in claim.images} if claim else set()


def rejected(image: ClaimedImage, reason: RejectReason = RejectReason.TRUNCATED) -> Rejected:
    return Rejected(image, reason, "its second half is missing")


def numbered(count: int, start: int = 0) -> Sequence[str]:
    return [f"uploads/{number:05}.jpg" for number in range(start, start + count)]


@contextmanager
def open_database(url: str) -> Iterator[Database]:
    """Brings the database at `url` up to date and opens it."""
    database = Database(url)
    try:
        schema.upgrade(database)
        yield database
    finally:
        database.dispose()


def furnish(database: Database) -> Store:
    """The parts on a migrated database, with the default policy and one active prompt."""
    policies, prompts = Policies(database), Prompts(database)
    policies.ensure_default()
    record = prompts.register(
        b"a prompt", name="test", backbone="tiny", backbone_revision="", question="Is this real?", metrics={}
    )
    prompts.activate(record.prompt_id)
    return Store(
        database=database,
        submissions=Submissions(database),
        claims=Claims(database),
        verdicts=Verdicts(database),
        policies=policies,
        prompts=prompts,
        by=ScoredBy(record.prompt_id, "tiny", {"preprocessing": "none"}),
        policy_id=policies.current()[ANY_SOURCE].policy_id,
    )


def empty(database: Database) -> None:
    """Removes all rows, and keeps the tables."""
    with database.write() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())
