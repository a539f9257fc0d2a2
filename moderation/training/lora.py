"""The paper's LoRA baseline as a candidate: how it scores, and its files. It is asked the plain question."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from moderation.detector.backbone import Backbone
from moderation.detector.calibration import Calibration
from moderation.detector.detector import Score, Views
from moderation.detector.halving import halving
from moderation.detector.preprocess import Normalisation, normalise, stack
from moderation.detector.question import QUESTIONS
from moderation.detector.scoring import answer_logits, margins
from moderation.errors import ConfigurationError, ImageRejected, PromptMismatch, RejectReason
from moderation.files import write_whole
from moderation.training.adapter import Adapter
from moderation.training.run import ADAPTER

_OURS, _WEIGHTS, _CONFIG = "antifake.json", "adapter_model.safetensors", "adapter_config.json"


class LoraDetector:
    """Scores as a Detector does, with an adapter in the place of a prompt. Not locked: one call at a time."""

    native_crops = 0

    def __init__(
        self,
        adapter: Adapter,
        name: str,
        normalisation: Normalisation,
        calibration: Calibration,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.backbone = adapter.backbone
        self.name = name
        self.normalisation = normalisation
        self.calibration = calibration
        self.metadata = dict(metadata or {})
        self._adapter = adapter

    def score(self, views: Sequence[Views], sources: Sequence[str] = ()) -> list[Score | ImageRejected]:
        """One item per image, in order; see Detector.score."""
        found = halving(self._margins, stack([view.whole for view in views], self.backbone.image_size))
        named = sources or [""] * len(views)
        return [self._score(margin, source) for margin, source in zip(found, named, strict=True)]

    def _margins(self, pixels: torch.Tensor) -> list[float]:
        ready = normalise(pixels.to(self.backbone.device), self.normalisation)
        with self._adapter.scoring():
            values: list[float] = margins(answer_logits(self.backbone, self._adapter.vectors(), ready)).tolist()
        return values

    def _score(self, margin: float | ImageRejected, source: str) -> Score | ImageRejected:
        if isinstance(margin, ImageRejected):
            return margin
        if not math.isfinite(margin):
            return ImageRejected(RejectReason.NOT_A_NUMBER, f"margin {margin}")
        return Score(margin, self.calibration.probability(margin, source))


def save_lora(
    folder: Path,
    adapter: Adapter,
    *,
    name: str,
    normalisation: Normalisation,
    calibration: Calibration,
    metadata: Mapping[str, Any],
) -> None:
    """Writes peft's own two files, which peft can read, and antifake.json with what it takes to score."""
    folder.mkdir(parents=True, exist_ok=True)
    backbone = adapter.backbone
    about = {
        "format": 1,
        "name": name,
        "backbone": backbone.name,
        "revision": backbone.revision,
        "question": QUESTIONS["plain"],
        "mean": list(normalisation.mean),
        "std": list(normalisation.std),
        "calibration": _calibration_to_json(calibration),
        "metadata": dict(metadata),
    }
    tensors = {key: values.detach().cpu().contiguous() for key, values in adapter.parameters.items()}
    write_whole(folder / _WEIGHTS, save(tensors, metadata={"format": "pt"}))
    adapter.config.save_pretrained(str(folder))
    write_whole(folder / _OURS, (json.dumps(about, indent=2, sort_keys=True) + "\n").encode())


def load_lora(path: Path, backbone: Backbone) -> LoraDetector:
    """The adapter in folder `path`, its own or its run's, put into `backbone`.

    Raises ConfigurationError, PromptMismatch.
    """
    if (path / ADAPTER / _OURS).is_file():
        path /= ADAPTER
    try:
        about = json.loads((path / _OURS).read_text(encoding="utf-8"))
        mean, std = tuple(about["mean"]), tuple(about["std"])
        normalisation, calibration = Normalisation(mean, std), _calibration_from_json(about["calibration"])
        name, tuned_on, revision, text = (str(about[key]) for key in ("name", "backbone", "revision", "question"))
        metadata = dict(about.get("metadata", {}))
        numbers = load((path / _WEIGHTS).read_bytes())
    except OSError as error:
        hint = f"a folder that `modctl tune --method lora` wrote: {_OURS}, {_WEIGHTS}, {_CONFIG}"
        raise ConfigurationError(f"lora:{path}", f"can't be read: {error}", hint=hint) from None
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ConfigurationError(f"lora:{path}", f"is damaged: {error}") from None
    if revision != backbone.revision:
        raise PromptMismatch(
            f"lora:{path} was tuned on {tuned_on} at revision {revision}; "
            f"the backbone loaded is {backbone.name} at revision {backbone.revision}"
        )
    if text != QUESTIONS["plain"]:
        raise ConfigurationError(f"lora:{path}", f"asks {text!r}; this version asks {QUESTIONS['plain']!r}")
    adapter = Adapter(backbone)
    try:
        adapter.load(numbers)
    except ValueError as error:
        raise ConfigurationError(f"lora:{path}", str(error)) from None
    return LoraDetector(adapter, name, normalisation, calibration, metadata)


def _calibration_to_json(calibration: Calibration) -> dict[str, Any]:
    return {
        "scale": calibration.scale,
        "bias": calibration.bias,
        "isotonic": [list(knot) for knot in calibration.isotonic],
        "source_bias": dict(calibration.source_bias),
    }


def _calibration_from_json(found: Mapping[str, Any]) -> Calibration:
    knots = tuple((float(x), float(y)) for x, y in found["isotonic"])
    return Calibration(float(found["scale"]), float(found["bias"]), knots, dict(found["source_bias"]))
