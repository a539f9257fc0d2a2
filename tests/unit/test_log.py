"""A worker's log: one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import fields

import pytest

from moderation.flows.scanning.batch import BatchReport
from workers.log import JsonFormatter, configure

FIGURES = {field.name: float(number) for number, field in enumerate(fields(BatchReport))}
REPORT = BatchReport(**FIGURES)  # type: ignore[arg-type]  # some are whole numbers


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("moderation.scan", logging.INFO, __file__, 1, message, arguments, None)
    made.__dict__.update(extra)
    return made


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_is_one_object() -> None:
    text = JsonFormatter().format(record("%s\nsaid “%s”", "a", "ü"))
    assert "\n" not in text
    line = json.loads(text)
    assert (line["level"], line["logger"], line["message"]) == ("INFO", "moderation.scan", "a\nsaid “ü”")
    assert line["time"].endswith("+00:00")
    assert "batch" not in line


def test_a_batch_brings_its_figures() -> None:
    batch = json.loads(JsonFormatter().format(record("batch", batch=REPORT)))["batch"]
    assert batch == FIGURES


def test_an_error_brings_its_traceback() -> None:
    try:
        raise ValueError("boom")
    except ValueError:
        made = record("failed")
        made.exc_info = sys.exc_info()
    assert "ValueError: boom" in json.loads(JsonFormatter().format(made))["error"]


def test_json_goes_to_standard_error(restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    configure("INFO", "json")
    logging.getLogger("moderation.test").info("hello")
    logging.getLogger("moderation.test").debug("too quiet")
    logging.getLogger("celery.app.trace").info("too noisy")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [json.loads(line)["message"] for line in captured.err.splitlines()] == ["hello"]


def test_text_is_for_people(restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    configure("WARNING", "text")
    logging.getLogger("moderation.test").warning("look here")
    assert "WARNING" in (said := capsys.readouterr().err)
    assert said.endswith("moderation.test: look here\n")
