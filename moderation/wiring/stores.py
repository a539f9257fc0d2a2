"""The parts that are tables: one for each noun of storage, all on one database."""

from __future__ import annotations

from moderation.settings import Settings
from moderation.storage import schema
from moderation.storage.chores import Chores
from moderation.storage.claims import Claims
from moderation.storage.database import Database
from moderation.storage.events import Events
from moderation.storage.policies import Policies
from moderation.storage.registry.canaries import Canaries
from moderation.storage.registry.prompts import Prompts
from moderation.storage.registry.states import PromptStates
from moderation.storage.rescoring.apply import Applying
from moderation.storage.rescoring.batches import RescoreBatches
from moderation.storage.rescoring.runs import Rescores
from moderation.storage.reviewing.gold import Gold
from moderation.storage.reviewing.reviewers import Reviewers
from moderation.storage.reviewing.reviews import Reviews
from moderation.storage.reviewing.tasks import ReviewTasks
from moderation.storage.submissions import Submissions
from moderation.storage.training.claims import TrainingClaims
from moderation.storage.training.holdout import Holdout
from moderation.storage.training.labels import Labels
from moderation.storage.training.runs import TrainingRuns
from moderation.storage.verdicts import Verdicts
from moderation.wiring.part import part


class Stores:
    """What is stored, by noun. `raw_database` must be disposed of."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @part
    def raw_database(self) -> Database:
        """The database, whatever schema it has."""
        return Database(self.settings.database_url, pool_size=self.settings.concurrency + 4)

    @part
    def database(self) -> Database:
        """The database, known to have the schema this code needs. Raises SchemaMismatch, ServiceDown."""
        schema.check(self.raw_database)
        return self.raw_database

    @part
    def submissions(self) -> Submissions:
        return Submissions(self.database)

    @part
    def claims(self) -> Claims:
        return Claims(self.database)

    @part
    def verdicts(self) -> Verdicts:
        return Verdicts(self.database)

    @part
    def policies(self) -> Policies:
        return Policies(self.database)

    @part
    def prompts(self) -> Prompts:
        return Prompts(self.database)

    @part
    def prompt_states(self) -> PromptStates:
        return PromptStates(self.database)

    @part
    def review_tasks(self) -> ReviewTasks:
        return ReviewTasks(self.database)

    @part
    def reviews(self) -> Reviews:
        return Reviews(self.database)

    @part
    def reviewers(self) -> Reviewers:
        return Reviewers(self.database)

    @part
    def gold(self) -> Gold:
        return Gold(self.database)

    @part
    def events(self) -> Events:
        return Events(self.database)

    @part
    def labels(self) -> Labels:
        return Labels(self.database)

    @part
    def holdout(self) -> Holdout:
        return Holdout(self.database)

    @part
    def training_runs(self) -> TrainingRuns:
        return TrainingRuns(self.database)

    @part
    def training_claims(self) -> TrainingClaims:
        return TrainingClaims(self.database)

    @part
    def chores(self) -> Chores:
        return Chores(self.database)

    @part
    def rescores(self) -> Rescores:
        return Rescores(self.database)

    @part
    def rescore_batches(self) -> RescoreBatches:
        return RescoreBatches(self.database)

    @part
    def applying(self) -> Applying:
        return Applying(self.database)

    @part
    def canaries(self) -> Canaries:
        return Canaries(self.database)
