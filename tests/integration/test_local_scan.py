"""The local scan: files prepared as the prompt at hand wants to see them, by `scan_paths` and by `modctl scan`."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moderation.detector import Crops, Detector, ExpertWeights, PixelExpert, Score, SoftPrompt
from moderation.domain.policy import DEFAULT_THRESHOLDS
from moderation.flows.scanning.local import scan_paths
from moderation.images import views_of
from moderation.miniature import PROMPT_FILE
from moderation.settings import load_settings
from moderation.wiring import Wiring
from tests.command import ok


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Pictures larger than the miniature looks at, so that whole and native crops differ; one of them is broken."""
    rng = np.random.default_rng(0)
    found = [tmp_path / f"{number}.png" for number in range(4)]
    for file in found:
        Image.fromarray(rng.integers(0, 256, (200, 260, 3), dtype=np.uint8)).save(file)
    found[1].write_bytes(b"no picture")
    return found


def closer() -> SoftPrompt:
    expert = ExpertWeights(PixelExpert().tensors(), 0.5, 3)
    return dataclasses.replace(SoftPrompt.load(PROMPT_FILE), crops=Crops(2, low=0.0, high=1.0), expert=expert)


def test_files_are_prepared_with_the_crops_that_the_prompt_looks_at(files: list[Path]) -> None:
    wiring = Wiring(load_settings(backbone="miniature", device="cpu", dtype="float32"))
    detector = Detector(wiring.backbone, closer())
    with ThreadPoolExecutor(2) as readers:
        found = list(
            scan_paths(
                files,
                detector=detector,
                prepare=wiring.prepare,
                thresholds=DEFAULT_THRESHOLDS,
                readers=readers,
                batch_size=3,
            )
        )
    wiring.close()
    size = wiring.backbone.image_size
    good = [views_of(Image.open(file).convert("RGB"), size, 3) for file in files if file != files[1]]
    expected = [score.margin for score in detector.score(good) if isinstance(score, Score)]
    assert [item.margin for item in found if item.margin is not None] == pytest.approx(expected, abs=1e-5)
    assert [item.reason != "" for item in found] == [False, True, False, False]


def test_modctl_scan_takes_such_a_prompt_and_says_what_it_sees(files: list[Path], tmp_path: Path) -> None:
    prompt = closer()
    prompt.save(tmp_path / "closer.safetensors")
    done = ok("scan", "--json", "--prompt", tmp_path / "closer.safetensors", files[0])
    assert f"prompt {prompt.sha256[:12]} ({prompt.looks}), 1 file" in done.err
    assert done.json()["probability"] is not None
