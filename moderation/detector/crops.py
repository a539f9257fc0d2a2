"""Looking again at native resolution: how many crops a prompt looks at, when, and how it pools them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Pool = Literal["mean", "max"]
MAX_CROPS = 16  # each costs a whole forward pass
UNSURE = (0.2, 0.8)
"""The default band of P(fake) in which crops are worth their price. A convention, not a fitted value."""


@dataclass(frozen=True, slots=True)
class Crops:
    """`count` crops of the picture in its own resolution are asked about besides the whole, and pooled with it.

    Only pictures whose P(fake), before that, lies in low..high are looked at again; 0..1 is all of them. "Before that"
    is the whole, with the pixel expert's share where the prompt has one. Raises ValueError.
    """

    count: int
    pool: Pool = "mean"
    low: float = UNSURE[0]
    high: float = UNSURE[1]

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_CROPS:
            raise ValueError(f"{self.count} crops: 1 to {MAX_CROPS} are possible")
        if self.pool not in get_args(Pool):
            raise ValueError(f"crops are pooled by {' or '.join(get_args(Pool))}, not {self.pool!r}")
        if not 0 <= self.low <= self.high <= 1:
            raise ValueError(f"the unsure band {self.low}..{self.high} must rise and lie in 0..1")

    @property
    def described(self) -> str:
        """In a few words, for a verdict."""
        return f"{self.count} crops {self.pool} in {self.low:g}..{self.high:g}"
