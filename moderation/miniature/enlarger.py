"""Ways of doubling the side of a feature map: what most marks a decoder's pictures. One name a way."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class Enlarger(nn.Module):
    """Doubles the side and changes the channels.

    Noise of a learned strength comes in before, as texture's raw material: whatever texture comes out was enlarged.
    """

    def __init__(self, kind: str, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.kind = kind
        self.noise = nn.Parameter(torch.full((in_channels,), 0.3))
        self.layer = enlarging_layer(kind, in_channels, out_channels)
        self.mix = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, C, H, W]. Returns [B, C', 2H, 2W]."""
        x = self.layer(x + self.noise[:, None, None] * torch.randn(x.shape))
        return x + functional.silu(self.mix(functional.silu(x)))


class _Zeros(nn.Module):
    """Zeros between the pixels; the convolution that follows fills them in."""

    def forward(self, x: Tensor) -> Tensor:
        out = x.new_zeros(*x.shape[:2], x.shape[2] * 2, x.shape[3] * 2)
        out[..., ::2, ::2] = x
        return out


class _Haar(nn.Module):
    """The inverse of a one-level Haar transform: [B, 4C, H, W] -> [B, C, 2H, 2W]."""

    def forward(self, x: Tensor) -> Tensor:
        low, across, down, both = x.chunk(4, dim=1)
        corners = (low + across + down + both, low - across + down - both,
                   low + across - down - both, low - across - down + both)  # fmt: skip
        return functional.pixel_shuffle(torch.stack(corners, dim=2).flatten(1, 2) / 2, 2)


class _Reassembly(nn.Module):
    """Every new pixel is a mean of 3 x 3 old ones, by weights read off the content (CARAFE, arXiv 1905.02188)."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.values = nn.Conv2d(a, b, 1)
        self.weights = nn.Conv2d(a, 4 * 9, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        near = functional.unfold(self.values(x), 3, padding=1).reshape(batch, -1, 9, height, width)
        weights = self.weights(x).reshape(batch, 4, 9, height, width).softmax(dim=2)
        return functional.pixel_shuffle(torch.einsum("bcnhw,bpnhw->bcphw", near, weights).flatten(1, 2), 2)


class _Gated(nn.Module):
    """Shuffled channels, let through by a gate that was enlarged by copying."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.content = nn.Conv2d(a, 4 * b, 1)
        self.gate = nn.Conv2d(a, b, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        gate = functional.interpolate(torch.sigmoid(self.gate(x)), scale_factor=2)
        return functional.pixel_shuffle(self.content(x), 2) * gate * 2


def _transposed(a: int, b: int, kernel: int) -> nn.Module:
    return nn.ConvTranspose2d(a, b, kernel, stride=2, padding=(kernel - 1) // 2, output_padding=kernel % 2)


def _resized(a: int, b: int, mode: str) -> nn.Module:
    return nn.Sequential(nn.Upsample(scale_factor=2, mode=mode), nn.Conv2d(a, b, 3, padding=1))


def enlarging_layer(kind: str, a: int, b: int) -> nn.Module:
    """a channels to b at twice the side. Raises KeyError for an unknown kind."""
    if kind.startswith("tconv"):
        return _transposed(a, b, int(kind.removeprefix("tconv")))
    known: dict[str, Callable[[], nn.Module]] = {
        "shuffle": lambda: nn.Sequential(nn.Conv2d(a, 4 * b, 3, padding=1), nn.PixelShuffle(2)),
        "haar": lambda: nn.Sequential(nn.Conv2d(a, 4 * b, 3, padding=1), _Haar()),
        "zeros": lambda: nn.Sequential(_Zeros(), nn.Conv2d(a, b, 3, padding=1)),
        "nearest": lambda: _resized(a, b, kind),
        "bilinear": lambda: _resized(a, b, kind),
        "bicubic": lambda: _resized(a, b, kind),
        "reassembly": lambda: _Reassembly(a, b),
        "gated": lambda: _Gated(a, b),
    }
    return known[kind]()
