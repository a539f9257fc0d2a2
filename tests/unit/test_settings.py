"""Settings: from the environment or `.env`; what is wrong is refused with its name and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from moderation.errors import ConfigurationError
from moderation.settings import PREFIX, Settings, load_settings, origin, unknown_variables, without_password

WRONG = {
    "database_url": ("mysql://host/name", "must start with sqlite:// or postgresql://"),
    "broker_url": ("amqp://host", "must start with redis:// or rediss://"),
    "device": ("gpu", "use auto, cpu, mps, cuda or cuda:N"),
    "dtype": ("int8", "use auto, float32, bfloat16, float16"),
    "exif_orientation": ("perhaps", "boolean"),
    "batch_size": ("0", "greater than or equal to 1"),
    "concurrency": ("65", "less than or equal to 64"),
    "fetch_threads": ("none", "integer"),
    "fetch_timeout_s": ("0", "greater than 0"),
    "lease_s": ("0.5", "greater than or equal to 1"),
    "batch_timeout_s": ("soon", "number"),
    "sweep_interval_s": ("nan", ""),
    "ring_again_s": ("0", "greater than or equal to 0.5"),
    "max_attempts": ("0", "greater than or equal to 1"),
    "retry_base_s": ("-1", "greater than or equal to 0"),
    "max_image_bytes": ("0", "greater than or equal to 1"),
    "max_image_pixels": ("1e400", ""),
    "review_lease_s": ("1", "greater than or equal to 5"),
    "second_look_rate": ("1.5", "less than or equal to 1"),
    "gold_rate": ("-1", "greater than or equal to 0"),
    "holdout_share": ("1", "less than 1"),
    "retrain_min_labels": ("1", "greater than or equal to 2"),
    "retrain_per_source": ("0", "greater than or equal to 1"),
    "retrain_per_uploader": ("0", "greater than or equal to 1"),
    "gate_margin": ("0.6", "less than or equal to 0.5"),
    "rescore_rate": ("0", "greater than 0"),
    "drift_interval_s": ("1", "greater than or equal to 10"),
    "drift_max_psi": ("0", "greater than 0"),
    "drift_max_ks": ("2", "less than or equal to 1"),
    "drift_max_flagged": ("0", "greater than 0"),
    "drift_max_overturned": ("1.1", "less than or equal to 1"),
    "drift_max_error": ("-1", "greater than 0"),
    "canary_interval_s": ("0.5", "greater than or equal to 1"),
    "canary_tolerance": ("0", "greater than 0"),
    "log_level": ("LOUD", "use DEBUG, INFO, WARNING, ERROR"),
    "log_format": ("xml", "use text, json"),
}


def test_all_have_defaults_and_words() -> None:
    assert load_settings().backbone == "miniature"
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_setting_that_can_be_wrong_is_tried_here() -> None:
    free = {"queue_prefix", "images", "image_hosts", "backbone", "backbone_revision", "language_model", "actor", "runs"}
    assert set(WRONG) | free == set(Settings.model_fields)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_refused_with_its_name_and_what_is_allowed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    value, allowed = WRONG[name]
    monkeypatch.setenv(PREFIX + name.upper(), value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert caught.value.setting == PREFIX + name.upper()
    assert value in str(caught.value)
    assert allowed in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://me:secret@host/db"),
        ("DATABASE_URL", "me:secret@host/db"),
        ("BROKER_URL", "amqp://me:secret@host"),
    ],
)
def test_a_refused_url_does_not_show_its_password(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert "secret" not in str(caught.value)
    assert "me:***@host" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host:1/0", "redis://:***@host:1/0"),
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:se@cret@host/db", "postgresql://me:***@host/db"),
        ("https://me:secret@host:8443/{id}", "https://me:***@host:8443/{id}"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("https://host:8443/a:b@c/{id}", "https://host:8443/a:b@c/{id}"),
        ("C:/pictures", "C:/pictures"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_an_argument_that_is_no_setting_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"databse_url: is no setting\n.*did you mean database_url\?"):
        load_settings(databse_url="sqlite:///other.db")


def test_several_wrong_values_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_BATCH_SIZE", "0")
    monkeypatch.setenv("MODERATION_DEVICE", "gpu")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert "MODERATION_BATCH_SIZE" in str(caught.value)
    assert "MODERATION_DEVICE" in str(caught.value)


@pytest.mark.parametrize("value", ["auto", "cpu", "mps", "cuda", "cuda:1"])
def test_devices(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MODERATION_DEVICE", value)
    assert load_settings().device == value


def test_arguments_go_before_the_environment_and_that_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("MODERATION_BATCH_SIZE=1\nMODERATION_LEASE_S=11\nMODERATION_ACTOR=ann\n", encoding="utf-8")
    monkeypatch.setenv("MODERATION_BATCH_SIZE", "2")
    monkeypatch.setenv("MODERATION_LEASE_S", "22")
    settings = load_settings(batch_size=3, lease_s=None)
    assert (settings.batch_size, settings.lease_s, settings.actor) == (3, 22.0, "ann")


def test_where_a_value_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("MODERATION_BATCH_SIZE=1\nmoderation_lease_s=11\n", encoding="utf-8")
    monkeypatch.setenv("MODERATION_BATCH_SIZE", "2")
    assert [origin(name) for name in ("batch_size", "lease_s", "device")] == ["environment", ".env", "default"]


def test_an_empty_variable_is_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_BATCH_SIZE", "")
    assert load_settings().batch_size == Settings.model_fields["batch_size"].default
    assert origin("batch_size") == "default"


def test_typing_errors_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("MODERATION_NONSENSE_ENTIRELY=1\n", encoding="utf-8")
    monkeypatch.setenv("MODERATION_BATCHSIZE", "2")
    monkeypatch.setenv("MODERATION_TEST_POSTGRES_URL", "postgresql://x/y")
    found = unknown_variables()
    assert found["MODERATION_BATCHSIZE"] == "MODERATION_BATCH_SIZE"
    assert set(found) == {"MODERATION_BATCHSIZE", "MODERATION_NONSENSE_ENTIRELY"}


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_settings().batch_size = 3
