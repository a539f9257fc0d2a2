"""The one place where settings become parts: engine, queue, image source, detector.

Parts are made when first asked for. Those that need torch import it only then.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from moderation.storage.drawn import Drawn
from moderation.storage.replay import Replay
from moderation.storage.rescoring.difference import Rescoring
from moderation.wiring.part import part
from moderation.wiring.stores import Stores

if TYPE_CHECKING:
    from celery import Celery

    from moderation.detector import Backbone
    from moderation.detector.measures import Measures
    from moderation.domain.prompt import PromptId
    from moderation.domain.submission import ImageId
    from moderation.flows.rescoring.backfill import Rescorer
    from moderation.flows.rescoring.rescore import Comparer
    from moderation.flows.retraining.retrain import Teacher
    from moderation.flows.retraining.teach import Classroom
    from moderation.flows.reviewing.evidence import Archive
    from moderation.flows.reviewing.review import Desk
    from moderation.flows.scanning.active import ActivePrompt
    from moderation.flows.scanning.canary import Canary
    from moderation.flows.scanning.looker import Looker, Picture
    from moderation.flows.scanning.scan import Scanner
    from moderation.flows.scanning.witness import Witness
    from moderation.flows.watching.drift import DriftWatch
    from moderation.images import ImageSource
    from moderation.queue.bell import Bell


class Wiring(Stores):
    """The parts that one set of settings makes. Close it when done."""

    @part
    def archive(self) -> Archive:
        """What the labels say about all images."""
        from moderation.flows.reviewing.evidence import Archive

        return Archive(Replay(self.database), Drawn(self.database), self.reviewers)

    @part
    def drift_watch(self) -> DriftWatch:
        """What looks for drift, under the limits that the settings name."""
        from moderation.domain.drift_limits import Measure
        from moderation.flows.watching.drift import DriftWatch
        from moderation.storage.drift import Drift

        return DriftWatch(
            drift=Drift(self.database),
            archive=self.archive,
            prompts=self.prompts,
            policies=self.policies,
            backbone=self.backbone_name,
            limits={measure: getattr(self.settings, f"drift_max_{measure}") for measure in Measure},
        )

    @part
    def comparer(self) -> Comparer:
        """What new scores of stored images would change."""
        from moderation.flows.rescoring.rescore import Comparer

        return Comparer(Rescoring(self.database), self.policies, self.reviews, self.reviewers)

    def desk(self, reviewer: str, *, is_senior: bool) -> Desk:
        """Where this reviewer works."""
        from moderation.flows.reviewing.review import Desk

        return Desk(
            reviewer=reviewer,
            is_senior=is_senior,
            tasks=self.review_tasks,
            reviews=self.reviews,
            reviewers=self.reviewers,
            gold=self.gold,
            verdicts=self.verdicts,
            lease_s=self.settings.review_lease_s,
            second_look_rate=self.settings.second_look_rate,
            gold_rate=self.settings.gold_rate,
        )

    @part
    def celery(self) -> Celery:
        from moderation.queue.app import create_app

        return create_app(self.settings)

    @part
    def bell(self) -> Bell:
        from moderation.queue.bell import Bell

        return Bell(self.celery, self.settings)

    @part
    def image_source(self) -> ImageSource:
        from moderation.images import open_source

        hosts = [host.strip() for host in self.settings.image_hosts.split(",") if host.strip()]
        return open_source(
            self.settings.images,
            hosts=hosts,
            timeout_s=self.settings.fetch_timeout_s,
            max_bytes=self.settings.max_image_bytes,
        )

    @part
    def backbone(self) -> Backbone:
        """The frozen InstructBLIP, loaded. Raises ConfigurationError."""
        from moderation.detector import load_backbone

        return load_backbone(
            self.settings.backbone,
            device=self.settings.device,
            dtype=self.settings.dtype,
            revision=self.settings.backbone_revision or None,
            language_model=self.settings.language_model or None,
        )

    @property
    def backbone_name(self) -> str:
        """The backbone's name, under which its prompts are registered."""
        return "+".join(filter(None, (self.settings.backbone, self.settings.language_model)))

    def measures(self) -> Measures:
        """The backbone's name, revision and widths, without loading it. Raises ConfigurationError."""
        from moderation.detector.measures import measures_of

        return measures_of(
            self.settings.backbone,
            revision=self.settings.backbone_revision or None,
            language_model=self.settings.language_model or None,
        )

    @part
    def active_prompt(self) -> ActivePrompt:
        prompts = self.prompts  # first: a wrong schema is told before torch and a backbone are loaded in vain
        from moderation.flows.scanning.active import ActivePrompt

        return ActivePrompt(self.backbone, prompts, self._versions())

    def prepare(self, data: bytes, native_crops: int = 0) -> Picture:
        """A picture file's bytes, made ready for a detector that looks at so many crops. Raises ImageRejected."""
        from moderation.flows.scanning.looker import Picture
        from moderation.images import decode, pdq, views_of

        image, facts = decode(
            data, max_pixels=self.settings.max_image_pixels, exif_orientation=self.settings.exif_orientation
        )
        return Picture(replace(facts, pdq=pdq(image)), views_of(image, self.backbone.image_size, native_crops))

    def scanner(self) -> Scanner:
        """All that a worker process needs to scan, the backbone loaded and its prompt checked."""
        from moderation.flows.scanning.looker import Looker
        from moderation.flows.scanning.scan import Scanner

        self.active_prompt.scorer()
        looker = Looker(
            fetch=self._fetcher(),
            native_crops=self.active_prompt.native_crops,
            scorer=self.active_prompt.scorer,
            fetchers=ThreadPoolExecutor(self.settings.fetch_threads, thread_name_prefix="fetch"),
            max_attempts=self.settings.max_attempts,
            retry_base_s=self.settings.retry_base_s,
        )
        return Scanner(
            claims=self.claims,
            policies=self.policies,
            looker=looker,
            batch_size=self.settings.batch_size,
            lease_s=self.settings.lease_s,
        )

    def canary(self, looker: Looker, *, worker: str) -> Canary:
        """This process's check of itself, on the device of `looker`. worker: its name, for the record."""
        from moderation.flows.scanning.canary import Canary

        return Canary(looker, self.witness(worker=worker, device=looker.device))

    def witness(self, *, worker: str = "", device: threading.Lock | None = None) -> Witness:
        """What this process says of known pictures. worker: its name, else that of the machine and its number."""
        from moderation.detector import Detector, SoftPrompt, kind_of
        from moderation.domain.canary import Machine
        from moderation.flows.scanning.witness import Witness
        from moderation.miniature.canary import shipped_answers

        def detector(prompt_id: PromptId) -> Detector:
            record = self.prompts.find(prompt_id)
            return Detector(
                self.backbone, SoftPrompt.from_bytes(self.prompts.blob(record.prompt_id), sha256=record.sha256)
            )

        return Witness(
            prepare=self.prepare,
            detector=detector,
            canaries=self.canaries,
            backbone_revision=self.backbone.revision,
            machine=Machine(kind_of(self.backbone.device), str(self.backbone.dtype).removeprefix("torch.")),
            shipped=shipped_answers(exif_orientation=self.settings.exif_orientation),
            tolerance=self.settings.canary_tolerance,
            worker=worker or _here(),
            device=device or threading.Lock(),
        )

    def teacher(self, device: threading.Lock | None = None) -> Teacher:
        """What works on training runs in this process. device: the scanner's lock, where it shares the backbone."""
        from moderation.flows.retraining.retrain import Teacher

        lock = device or threading.Lock()
        return Teacher(
            runs=self.training_runs,
            claims=self.training_claims,
            room=lambda: self._classroom,
            backbone=self.backbone_name,
            folder=Path(self.settings.runs),
            lease_s=self.settings.lease_s,
            worker=_here(),
            witness=lambda: self.witness(device=lock),
            device=lock,
        )

    def rescorer(self, scanner: Scanner, *, lease_s: float | None = None) -> Rescorer:
        """What scores stored images again, on the device of `scanner` and beside it. lease_s: else the setting."""
        from moderation.flows.rescoring.backfill import Rescorer

        return Rescorer(
            batches=self.rescore_batches,
            policies=self.policies,
            looker=scanner.looker,
            gate=scanner.gate,
            under_way=scanner.under_way,
            batch_size=self.settings.batch_size,
            lease_s=lease_s or self.settings.lease_s,
        )

    def close(self) -> None:
        """Closes what was opened."""
        for name in ("bell", "image_source", "raw_database"):
            made = self.__dict__.pop(name, None)
            if made is not None:
                made.dispose() if name == "raw_database" else made.close()

    @part
    def _classroom(self) -> Classroom:
        from moderation.flows.retraining.leftovers import FEATURES
        from moderation.flows.retraining.teach import Classroom
        from moderation.images import decode

        settings = self.settings
        return Classroom(
            backbone=self.backbone,
            prompts=self.prompts,
            policies=self.policies,
            fetch=self.image_source.fetch,
            prepare=self.prepare,
            decode=lambda data: decode(
                data, max_pixels=settings.max_image_pixels, exif_orientation=settings.exif_orientation
            )[0],
            preparation=self._versions()["preprocessing"],
            readers=ThreadPoolExecutor(settings.fetch_threads, thread_name_prefix="read"),
            features=Path(settings.runs) / FEATURES,
            batch_size=settings.batch_size,
            retry_base_s=settings.retry_base_s,
        )

    def _fetcher(self) -> Callable[[ImageId, int], Picture]:
        source = self.image_source
        return lambda image_id, native_crops: self.prepare(source.fetch(image_id), native_crops)

    def _versions(self) -> dict[str, str]:
        import PIL
        import torch
        import transformers

        import moderation

        turned = "exif" if self.settings.exif_orientation else "stored"
        return {
            "antifake_moderation": moderation.__version__,
            "preprocessing": f"shorter side {self.backbone.image_size} bicubic, centre crop, {turned} orientation",
            "decoder": f"Pillow {PIL.__version__}",
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "device": str(self.backbone.device),
            "dtype": str(self.backbone.dtype).removeprefix("torch."),
        }


def _here() -> str:
    """This process: the machine's name and its number there."""
    return f"{socket.gethostname()}-{os.getpid()}"
