"""The settings: one frozen object from MODERATION_* variables and a `.env` file.

Read where it is called for, never at import. A wrong value is refused with the variable's name and what is allowed.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from moderation.errors import ConfigurationError

PREFIX = "MODERATION_"
ENV_FILE = ".env"
# Read by the test suite and the compose file, not by the package.
_FOREIGN = {"MODERATION_TEST_POSTGRES_URL"}

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
# A user and a password before the @, in a URL or in what was meant to be one.
_PASSWORD = re.compile(r"((?:://|^)[^:/@?#]*):[^/?#]*@")
_DTYPES = ("auto", "float32", "bfloat16", "float16")
_DATABASES = ("sqlite://", "postgresql://", "postgresql+psycopg://", "postgres://")
_BROKERS = ("redis://", "rediss://", "redis+socket://")
_LOG_FORMATS = ("text", "json")


def _device(value: str) -> str:
    if not _DEVICE.fullmatch(value):
        raise ValueError("use auto, cpu, mps, cuda or cuda:N")
    return value


def _one_of(*allowed: str) -> AfterValidator:
    def check(value: str) -> str:
        if value not in allowed:
            raise ValueError("use " + ", ".join(allowed))
        return value

    return AfterValidator(check)


def _starts_with(*allowed: str) -> AfterValidator:
    def check(value: str) -> str:
        if not value.startswith(allowed):
            raise ValueError("must start with " + " or ".join(allowed))
        return value

    return AfterValidator(check)


class Settings(BaseSettings):
    """What an operator may set. Every field `x` is the variable MODERATION_X."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=ENV_FILE, frozen=True, extra="ignore", env_ignore_empty=True, validate_default=True
    )

    database_url: Annotated[str, _starts_with(*_DATABASES)] = Field(
        "sqlite:///moderation.db", description="where verdicts live: SQLite for one machine, PostgreSQL for more"
    )
    broker_url: Annotated[str, _starts_with(*_BROKERS)] = Field(
        "redis://127.0.0.1:6379/0", description="Redis or Valkey; give this app a database of its own"
    )
    queue_prefix: str = Field("antifake:", description="prefix of every Redis key, so that apps can share a server")
    images: str = Field(".", description="where ids lead: a folder, an fsspec URL, or an http(s) template with {id}")
    image_hosts: str = Field("", description="hosts that may be fetched, by commas; empty: the template's")
    backbone: str = Field("miniature", description="miniature, a local folder, or a Hub id of an InstructBLIP")
    backbone_revision: str = Field("", description="the Hub revision to load; empty: the newest")
    language_model: str = Field("", description="folder or Hub id of a language model to put in the backbone's place")
    device: Annotated[str, AfterValidator(_device)] = Field("auto", description="auto, cpu, mps, cuda or cuda:N")
    dtype: Annotated[str, _one_of(*_DTYPES)] = Field("auto", description="auto, float32, bfloat16 or float16")
    exif_orientation: bool = Field(True, description="turn pictures as their EXIF says (the original code does not)")
    batch_size: int = Field(64, ge=1, le=1024, description="images scored at once, at most")
    concurrency: int = Field(3, ge=1, le=64, description="batches under way in a worker, one of them on the device")
    fetch_threads: int = Field(16, ge=1, le=256, description="pictures fetched and decoded side by side in a worker")
    fetch_timeout_s: float = Field(10.0, gt=0, le=600, description="longest wait for one picture over http(s)")
    lease_s: float = Field(30.0, ge=1, le=3600, description="a claim not renewed for so long is free for others")
    batch_timeout_s: float = Field(300.0, ge=1, description="a worker whose batch takes longer ends itself")
    sweep_interval_s: float = Field(2.0, ge=0.1, le=3600, description="how often a worker looks for rows left behind")
    ring_again_s: float = Field(15.0, ge=0.5, le=3600, description="a row not claimed for so long is rung for again")
    max_attempts: int = Field(5, ge=1, le=100, description="tries for an image that can't be fetched")
    retry_base_s: float = Field(2.0, ge=0, le=3600, description="wait before the second try; doubles with each")
    max_image_bytes: int = Field(40_000_000, ge=1, description="larger files are refused unread")
    max_image_pixels: int = Field(100_000_000, ge=1, description="larger pictures are refused undecoded")
    review_lease_s: float = Field(600.0, ge=5, le=86400, description="how long a reviewer holds a task; renewed by use")
    second_look_rate: float = Field(0.1, ge=0, le=1, description="share of answers that a second reviewer checks blind")
    gold_rate: float = Field(0.05, ge=0, le=1, description="share of a reviewer's tasks whose truth is known")
    runs: str = Field("runs", description="folder in which training keeps what it works on")
    holdout_share: float = Field(0.3, gt=0, lt=1, description="share of reviewed images that never train: the gate's")
    retrain_min_labels: int = Field(50, ge=2, description="trusted labels of each class that a retraining takes")
    retrain_per_source: int = Field(2000, ge=1, description="most images of a class that one source may teach with")
    retrain_per_uploader: int = Field(20, ge=1, description="most images of a class that one uploader may teach with")
    gate_margin: float = Field(0.01, ge=0, le=0.5, description="how much worse a candidate's AUC may be, at most")
    rescore_rate: float = Field(20.0, gt=0, le=100_000, description="images a second that modctl rescore takes")
    drift_interval_s: float = Field(3600.0, ge=10, description="how often workers look for drift")
    drift_max_psi: float = Field(0.25, gt=0, description="alarm: population-stability index of a source's scores")
    drift_max_ks: float = Field(0.2, gt=0, le=1, description="alarm: Kolmogorov-Smirnov distance of them")
    drift_max_flagged: float = Field(0.1, gt=0, le=1, description="alarm: change of the share that is flagged")
    drift_max_overturned: float = Field(0.2, gt=0, le=1, description="alarm: share of decisions that people overturn")
    drift_max_error: float = Field(0.1, gt=0, le=1, description="alarm: error rate as estimated from audits")
    canary_interval_s: float = Field(3600.0, ge=1, description="how often a worker checks itself on known pictures")
    canary_tolerance: float = Field(1e-3, gt=0, le=1, description="how far its P(fake) of them may move")
    log_level: Annotated[str, _one_of("DEBUG", "INFO", "WARNING", "ERROR")] = Field(
        "INFO", description="DEBUG to ERROR"
    )
    log_format: Annotated[str, _one_of(*_LOG_FORMATS)] = Field("text", description="text, or json (one object a line)")
    actor: str = Field("", description="who acts, for the record; empty: the login name")


def load_settings(**overrides: Any) -> Settings:
    """Settings from overrides, the environment and `.env`, in this order. Raises ConfigurationError."""
    for name in sorted(set(overrides) - set(Settings.model_fields)):
        meant = _meant(PREFIX + name.upper(), [PREFIX + field.upper() for field in Settings.model_fields])
        hint = f"did you mean {meant.removeprefix(PREFIX).lower()}?" if meant else ""
        raise ConfigurationError(name, "is no setting", hint=hint)
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise _explain(error) from None


def _explain(error: ValidationError) -> ConfigurationError:
    problems = []
    for item in error.errors():
        name = PREFIX + str(item["loc"][0]).upper()
        message = item["msg"].removeprefix("Value error, ")
        shown = without_password(item["input"]) if isinstance(item["input"], str) else item["input"]
        problems.append((name, f"{shown!r} is not allowed: {message[0].lower()}{message[1:]}"))
    first, *rest = problems
    return ConfigurationError(*first, hint="\n  ".join(f"{name}: {problem}" for name, problem in rest))


def without_password(url: str) -> str:
    """`url` as it may be shown and logged."""
    return _PASSWORD.sub(r"\1:***@", url)


def origin(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """Where field `name` got its value from: environment, .env or default."""
    variable = PREFIX + name.upper()
    if environ.get(variable):
        return "environment"
    return ".env" if variable in _env_file_names() else "default"


def unknown_variables(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """MODERATION_* variables that no setting reads, each with the likely meant one ('' if none): typing errors."""
    known = {PREFIX + field.upper() for field in Settings.model_fields} | _FOREIGN
    given = {name for name in (*environ, *_env_file_names()) if name.startswith(PREFIX)}
    return {name: _meant(name, known) for name in sorted(given - known)}


def _meant(name: str, known: Iterable[str]) -> str:
    """The closest of `known`; the prefix that all share says nothing."""
    found = difflib.get_close_matches(name.removeprefix(PREFIX), [each.removeprefix(PREFIX) for each in known], 1)
    return PREFIX + found[0] if found else ""


def _env_file_names() -> set[str]:
    path = Path(ENV_FILE)
    if not path.is_file():
        return set()
    from dotenv import dotenv_values

    return {name.upper() for name, value in dotenv_values(path).items() if value}
