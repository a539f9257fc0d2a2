"""The style sheet's colours: text on every background it stands on can be read, light and dark (WCAG 2.2, 1.4.3)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SHEET = Path(__file__).parents[2] / "moderation" / "web" / "static" / "style.css"
PAIRS = [
    *((text, ground) for text in ("text", "muted", "accent") for ground in ("bg", "panel")),
    *((text, "panel") for text in ("real", "fake", "unsure")),
    *(("on-answer", ground) for ground in ("real", "fake", "unsure")),
    *(("text", ground) for ground in ("stage", "fake-soft", "unsure-soft")),
    ("muted", "stage"),
    ("on-accent", "accent"),
]
DRAWN = [("score", "panel"), ("strong-line", "panel"), ("accent", "bg")]  # lines and shapes: 3:1 (1.4.11)


def colours(scheme: str) -> dict[str, str]:
    light, dark = re.findall(r":root \{(.*?)\}", SHEET.read_text(), re.DOTALL)[:2]
    text = light if scheme == "light" else light + dark
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", text))


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(scheme: str) -> None:
    found = colours(scheme)
    assert contrast("#000", "#fff") == pytest.approx(21)
    poor = {pair: round(contrast(*(found[name] for name in pair)), 2) for pair in PAIRS}
    assert {pair: ratio for pair, ratio in poor.items() if ratio < 4.5} == {}
    drawn = {pair: round(contrast(*(found[name] for name in pair)), 2) for pair in DRAWN}
    assert {pair: ratio for pair, ratio in drawn.items() if ratio < 3} == {}
