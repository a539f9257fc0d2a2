"""`.env.example` names every setting with its default, and nothing else; `docker-compose.yml` passes every one on."""

from __future__ import annotations

import re
from pathlib import Path

from moderation.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / ".env.example"


def test_every_setting_stands_there_with_its_default() -> None:
    lines = re.findall(rf"^#? ?({PREFIX}\w+)=(.*)$", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)
    shown = {name: value.split("  #")[0].strip() for name, value in lines}
    defaults = {PREFIX + name.upper(): field.default for name, field in Settings.model_fields.items()}
    assert set(shown) == set(defaults)
    for name, value in shown.items():
        assert value.lower() == str(defaults[name]).lower() or float(value) == float(defaults[name]), name


def test_compose_passes_every_setting_on() -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    passed = set(re.findall(rf"^ +({PREFIX}\w+): ", compose, re.MULTILINE))
    assert passed == {PREFIX + name.upper() for name in Settings.model_fields}
