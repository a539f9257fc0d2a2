"""Makes decoders and pictures in two processes; every job has its own seed, so their order changes nothing."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save

from moderation.miniature import decoders, photographs
from moderation.miniature.condition import make_conditions
from moderation.miniature.decoders import Autoencoder, Family
from moderation.miniature.photographs import Pixels, Split
from moderation.miniature.pictures import Crop, Cutter, PictureSet, decode, draw_crop, joined, make_pairs

PROCESSES = 2
_BANK = 1500  # crops that decoders learn from
_BANK_SIDE = 48  # plus the margin: 64 px
_SHARP_SHARE = 0.7  # of the training fakes


@contextmanager
def workers() -> Iterator[ProcessPoolExecutor]:
    """Two fresh processes with one torch thread each."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield pool


def kept_decoders(steps: int, seed: int, folder: Path, say: Callable[[str], None]) -> dict[str, Autoencoder]:
    """A decoder a family, all trained on pre-training photographs and drawings; see `kept_decoder`."""
    missing = [family for family in decoders.FAMILIES if not _place(family, steps, seed, folder).exists()]
    if missing:
        bank = _bank(seed)
        with workers() as pool:
            jobs = [pool.submit(_train, family, bank, steps, seed) for family in missing]
            for family, job in zip(missing, jobs, strict=True):
                _keep(job.result(), _place(family, steps, seed, folder))
                say(f"decoders: {family.name} trained")
    return {family.name: kept_decoder(family, steps, seed, folder, say) for family in decoders.FAMILIES}


def kept_decoder(family: Family, steps: int, seed: int, folder: Path, say: Callable[[str], None]) -> Autoencoder:
    """The family's decoder from `folder`; trained and put there if the folder lacks it."""
    path = _place(family, steps, seed, folder)
    if not path.exists():
        _keep(_train(family, _bank(seed), steps, seed), path)
        say(f"decoders: {family.name} trained")
    return restored(family, load_file(path))


def restored(family: Family, state: Mapping[str, np.ndarray]) -> Autoencoder:
    """A decoder from its numbers."""
    model = Autoencoder(family)
    model.load_state_dict({name: torch.from_numpy(values) for name, values in state.items()})
    return model.eval().requires_grad_(requires_grad=False)


def training_pictures(
    split: Split, made_by: Mapping[str, Autoencoder], count: int, side: int, drawn_share: float, seed: int
) -> PictureSet:
    """`count` pairs of a split, shared out among its families."""
    families = decoders.of_split(split)
    with workers() as pool:
        jobs = [
            pool.submit(_pairs, split, made_by[family.name], count // len(families), side, drawn_share, seed + number)
            for number, family in enumerate(families)
        ]
        return joined([job.result() for job in jobs])


def condition_pictures(
    split: Split,
    families: Sequence[Family],
    made_by: Mapping[str, Autoencoder],
    conditions: Sequence[str],
    per_photograph: int,
    side: int,
    seed: int,
) -> dict[str, PictureSet]:
    """Pictures of a split's photographs under each condition, decoded by all the families."""
    crops: list[Crop] = []
    rng = np.random.default_rng(seed)
    for source in photographs.of_split(split):
        cutter = Cutter([source], side)
        crops.extend(cutter.crop(rng) for _ in range(per_photograph))
    with workers() as pool:
        jobs = {family.name: pool.submit(decode, made_by[family.name], crops, seed) for family in families}
        made: dict[str, Sequence[Pixels]] = {name: job.result() for name, job in jobs.items()}
    return make_conditions(crops, made, conditions, seed)


def cut(split: Split, count: int, side: int, drawn_share: float, seed: int) -> list[Crop]:
    """Crops of a split's photographs, `drawn_share` of them drawings instead."""
    rng = np.random.default_rng(seed)
    cutter = Cutter(photographs.of_split(split), side)
    return [draw_crop(side, rng) if rng.random() < drawn_share else cutter.crop(rng) for _ in range(count)]


def _place(family: Family, steps: int, seed: int, folder: Path) -> Path:
    digest = hashlib.sha256(repr((family, steps, seed)).encode()).hexdigest()[:12]
    return folder / f"{family.name}-{digest}.safetensors"


def _keep(state: Mapping[str, np.ndarray], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save({name: np.ascontiguousarray(values) for name, values in sorted(state.items())}))


@lru_cache(maxsize=1)
def _bank(seed: int) -> Pixels:
    """uint8 [N, H, W, 3]: what decoders learn from."""
    crops = cut(Split.PRETRAIN, _BANK, _BANK_SIDE, drawn_share=0.3, seed=seed)
    return np.stack([crop.pixels for crop in crops])


def _train(family: Family, bank: np.ndarray, steps: int, seed: int) -> dict[str, np.ndarray]:
    pixels = torch.from_numpy(bank).permute(0, 3, 1, 2).float() / 255
    model = decoders.train(family, pixels, steps, seed)
    return {name: values.numpy() for name, values in model.state_dict().items()}


def _pairs(split: Split, decoder: Autoencoder, count: int, side: int, drawn_share: float, seed: int) -> PictureSet:
    crops = cut(split, count, side, drawn_share, seed)
    made = decode(decoder, crops, seed)
    return make_pairs(crops, decoder.family.name, made, np.random.default_rng(seed), _SHARP_SHARE)
