"""The rules of submissions: what an image id may be, and how long a retry waits."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.domain.submission import MAX_ID_CHARS, MAX_RETRY_S, ImageId, check_image_id, retry_delay_s

ANY_TEXT = st.text(st.characters(), max_size=MAX_ID_CHARS + 20)
BASES = st.floats(0.01, 3600)


@given(ANY_TEXT)
def test_an_id_is_taken_as_it_is_or_refused(raw: str) -> None:
    unfit = any(unicodedata.category(sign) in {"Cc", "Cs"} for sign in raw)
    if raw and len(raw) <= MAX_ID_CHARS and not unfit:
        assert check_image_id(raw) == raw
    else:
        with pytest.raises(ValueError, match="an image id"):
            check_image_id(raw)


@pytest.mark.parametrize(
    "raw", ["a", "x" * MAX_ID_CHARS, "a b/c.jpg", "../up.jpg", "фото.png", "🐈", "'; DROP TABLE x"]
)
def test_ids_that_databases_and_logs_can_hold(raw: str) -> None:
    assert check_image_id(raw) == raw


@pytest.mark.parametrize("raw", ["", "x" * (MAX_ID_CHARS + 1), "a\nb", "a\x00", "\ud800", "\x7f", "tab\t"])
def test_ids_that_they_can_not(raw: str) -> None:
    with pytest.raises(ValueError, match="an image id"):
        check_image_id(raw)


@pytest.mark.parametrize("raw", [None, 7, b"a.jpg", ["a"]])
def test_an_id_is_text(raw: object) -> None:
    with pytest.raises(ValueError, match="an image id is text"):
        check_image_id(raw)  # type: ignore[arg-type]  # what a web app without types may pass


@given(st.text(max_size=20), st.integers(1, 100), BASES)
def test_a_retry_waits_at_least_its_base_and_never_for_ever(name: str, attempt: int, base_s: float) -> None:
    delay_s = retry_delay_s(ImageId(name), attempt, base_s)
    assert base_s <= delay_s <= MAX_RETRY_S * 1.25
    assert delay_s == retry_delay_s(ImageId(name), attempt, base_s)


@given(st.text(max_size=20), st.integers(1, 9))
def test_waits_grow(name: str, attempt: int) -> None:
    first, second = (retry_delay_s(ImageId(name), number, 1.0) for number in (attempt, attempt + 1))
    assert second >= first * 2 / 1.25
    assert second <= first * 2 * 1.25


def test_neighbours_do_not_come_back_all_at_once() -> None:
    delays = {retry_delay_s(ImageId(f"uploads/{number}.jpg"), 1, 2.0) for number in range(64)}
    assert len(delays) > 32
    assert max(delays) - min(delays) > 0.25
