"""The fakes' makers: small learned autoencoders of several families, told apart by how they enlarge their latents.

A family belongs to one split. Every decoder learns on pre-training photographs and drawings alone, and is scored on
local texture energy besides pixel error: generators trained to look sharp are, and a blurry fake teaches only blur.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from moderation.miniature.enlarger import Enlarger
from moderation.miniature.photographs import Split


@dataclass(frozen=True)
class Family:
    """A kind of decoder: how it enlarges, how small its latents are, and what else marks it."""

    name: str
    split: Split
    enlarger: str
    stages: int  # each halves the side; 2 means latents at a quarter of it
    texture: float  # weight of the texture term; 0 gives the blur of a plain autoencoder
    latent: int = 6
    levels: int = 0  # > 0: latents rounded to so many levels (finite scalar quantisation, arXiv 2309.15505)
    codes: int = 0  # > 0: latents replaced by the nearest of so many learned ones
    is_denoiser: bool = False  # a one-step U-Net denoiser: noise in, skips across
    noise: float = 0.15  # that a denoiser gets, of the value range 0..1
    passes: int = 1  # how often it is applied to what it made
    depth: int = 0  # layers at full size, after all enlarging


FAMILIES: tuple[Family, ...] = (
    Family("tconv2", Split.PRETRAIN, "tconv2", 2, texture=0.3),
    Family("tconv5", Split.PRETRAIN, "tconv5", 2, texture=0.3),
    Family("bicubic", Split.PRETRAIN, "bicubic", 2, texture=0.3),
    Family("bicubic8", Split.PRETRAIN, "bicubic", 3, texture=0.3, latent=12),
    Family("haar", Split.PRETRAIN, "haar", 2, texture=0.3),
    Family("zeros", Split.PRETRAIN, "zeros", 2, texture=0.3),
    Family("tconv4", Split.TUNE, "tconv4", 2, texture=0.3),
    Family("shuffle", Split.TUNE, "shuffle", 2, texture=0.3),
    Family("nearest", Split.TUNE, "nearest", 2, texture=0.3),
    Family("reassembly", Split.VALIDATION, "reassembly", 2, texture=0.3, codes=128),
    Family("skip6", Split.VALIDATION, "tconv6", 2, texture=0.3, is_denoiser=True, noise=0.08),
    Family("refiner", Split.VALIDATION, "none", 0, texture=0.3, is_denoiser=True, noise=0.1, depth=3),
    Family("tconv3", Split.TEST, "tconv3", 2, texture=0.3),
    Family("bilinear", Split.TEST, "bilinear", 2, texture=0.3),
    Family("fsq8", Split.TEST, "nearest", 3, texture=0.3, latent=12, levels=9),
    Family("unet", Split.TEST, "nearest", 2, texture=0.3, is_denoiser=True),
    Family("code8", Split.FINAL, "tconv7", 3, texture=0.3, latent=12, codes=64),
    Family("twostep", Split.FINAL, "gated", 2, texture=0.3, is_denoiser=True, noise=0.2, passes=2),
)

_DOWN_WIDTHS = (16, 32, 48)
_UP_WIDTHS = (16, 24, 40)


class Autoencoder(nn.Module):
    """Encoder, latents, decoder of one family. Pixels and reconstructions are float32 [B, 3, H, W] in 0..1."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family = family
        widths = (3, *_DOWN_WIDTHS[: family.stages])
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.to_latent = nn.Conv2d(widths[-1], family.latent, 3, padding=1)
        ups = (*reversed(_UP_WIDTHS[: family.stages]), _UP_WIDTHS[0])
        self.from_latent = nn.Conv2d(family.latent, ups[0], 3, padding=1)
        self.up = nn.ModuleList(Enlarger(family.enlarger, a, b) for a, b in pairwise(ups))
        self.skip = nn.ModuleList(nn.Conv2d(width, ups[i], 1) for i, width in enumerate(reversed(widths[1:])))
        self.to_pixels = nn.Conv2d(ups[-1], 3, 3, padding=1)
        self.refine = nn.ModuleList(nn.Conv2d(ups[-1], ups[-1], 3, padding=1) for _ in range(family.depth))
        if family.codes:
            self.codes = nn.Parameter(torch.randn(family.codes, family.latent))

    def forward(self, pixels: Tensor) -> Tensor:
        """Reconstructs: coarse colours plus learned detail. A denoiser first adds the noise that it takes away."""
        for _ in range(self.family.passes):
            pixels = self._made(pixels * 2 - 1)
        return pixels

    def _made(self, x: Tensor) -> Tensor:
        if self.family.is_denoiser:
            x = x + 2 * self.family.noise * torch.randn(x.shape)
        coarse = functional.avg_pool2d(x, 2**self.family.stages)
        sides = []
        for layer in self.down:
            x = functional.silu(layer(x))
            sides.append(x)
        x = self.from_latent(self._quantised(self.to_latent(x)))
        for skip, layer, side in zip(self.skip, self.up, reversed(sides), strict=True):
            x = layer(x + skip(side) if self.family.is_denoiser else functional.silu(x))
        for layer in self.refine:
            x = x + layer(functional.silu(x))
        coarse = functional.interpolate(coarse, scale_factor=2**self.family.stages, mode="bicubic")
        made: Tensor = (self.to_pixels(x) + coarse) / 2 + 0.5
        return made.clamp(0, 1)

    def _quantised(self, latent: Tensor) -> Tensor:
        if self.family.codes:
            return self._nearest_codes(latent)
        if self.family.levels == 0:
            return latent
        scaled = torch.tanh(latent) * (self.family.levels - 1) / 2
        return scaled + (scaled.round() - scaled).detach()

    def _nearest_codes(self, latent: Tensor) -> Tensor:
        """Each latent's nearest code; gradients flow as if it were the mean that nearness weighs."""
        vectors = latent.movedim(1, -1)
        distances = (vectors[..., None, :] - self.codes).square().sum(dim=-1)
        soft = (-distances).softmax(dim=-1) @ self.codes
        hard = self.codes[distances.argmin(dim=-1)]
        return (soft + (hard - soft).detach()).movedim(-1, 1)


def of_split(split: Split) -> tuple[Family, ...]:
    """The families of one split, in the order of the list."""
    return tuple(family for family in FAMILIES if family.split is split)


def train(family: Family, bank: Tensor, steps: int, seed: int, batch: int = 12) -> Autoencoder:
    """A frozen decoder of the family. bank: float32 [N, 3, H, W] in 0..1, H and W divisible by 8."""
    torch.manual_seed(seed)
    model = Autoencoder(family)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=4e-3, total_steps=steps)
    for _ in range(steps):
        pixels = bank[torch.randint(len(bank), (batch,))]
        loss = reconstruction_loss(model(pixels), pixels, family.texture)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model.eval().requires_grad_(False)


def reconstruction_loss(made: Tensor, wanted: Tensor, texture: float) -> Tensor:
    """Pixel error, plus the error in local texture energy weighed by `texture`."""
    return functional.l1_loss(made, wanted) * 4 + texture * functional.l1_loss(_log_energy(made), _log_energy(wanted))


def _log_energy(pixels: Tensor) -> Tensor:
    """Log of the mean absolute Laplacian in 8 px windows, [B, 3, H', W']."""
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]).expand(3, 1, 3, 3)
    return torch.log(functional.avg_pool2d(functional.conv2d(pixels, kernel, groups=3).abs(), 8, stride=4) + 0.01)
