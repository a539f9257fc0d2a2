"""Policies: versions that are appended, one line of them for each source."""

from __future__ import annotations

import pytest

from moderation.domain.policy import ANY_SOURCE, DEFAULT_THRESHOLDS, Thresholds
from moderation.errors import ConfigurationError
from moderation.storage.policies import for_sources
from tests.store import Store

STRICT = Thresholds(review_at=0.2, block_at=0.4, audit_rate=0.5, block_check_rate=0.25)


def test_the_shipped_default_is_written_once(store: Store) -> None:
    store.policies.ensure_default()
    current = store.policies.current()
    assert list(current) == [ANY_SOURCE]
    assert (current[ANY_SOURCE].thresholds, current[ANY_SOURCE].parent) == (DEFAULT_THRESHOLDS, None)


def test_the_shipped_default_does_not_replace_an_operators(store: Store) -> None:
    store.policies.set(ANY_SOURCE, STRICT, author="ann", reason="complaints")
    store.policies.ensure_default()
    assert store.policies.current()[ANY_SOURCE].thresholds == STRICT


def test_a_new_version_names_its_parent_author_and_reason(store: Store) -> None:
    first = store.policies.current()[ANY_SOURCE]
    second = store.policies.set(ANY_SOURCE, STRICT, author="ann", reason="complaints")
    assert (second.parent, second.author, second.reason, second.source) == (
        first.policy_id,
        "ann",
        "complaints",
        ANY_SOURCE,
    )
    assert store.policies.current() == {ANY_SOURCE: second}


def test_a_source_has_its_own_line_of_versions(store: Store) -> None:
    own = store.policies.set("avatars", STRICT, author="ann", reason="children")
    assert own.parent is None
    current = store.policies.current()
    assert current["avatars"] == own
    chosen = for_sources(current, {"avatars", "forum"})
    assert chosen["avatars"].thresholds == STRICT
    assert chosen["forum"].thresholds == DEFAULT_THRESHOLDS


def test_no_default_at_all_names_the_way_out() -> None:
    with pytest.raises(ConfigurationError, match="modctl db upgrade"):
        for_sources({}, {"forum"})
