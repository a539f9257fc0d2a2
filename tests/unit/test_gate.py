"""The gate: many together, or one alone; and the list of what is under way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from moderation.flows.scanning.turns import Gate, UnderWay
from tests.waiting import GENEROUS_S

# How long something is watched not to happen. Too short makes the test blind, never red.
WATCH_S = 0.1


class Visitor(threading.Thread):
    """Goes through the gate, and stays inside until it is told to leave."""

    def __init__(self, enter: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.inside, self.leave = threading.Event(), threading.Event()
        self._enter = enter
        self.start()

    def run(self) -> None:
        with self._enter():  # type: ignore[attr-defined]  # a context manager
            self.inside.set()
            self.leave.wait(GENEROUS_S)

    def gone(self) -> None:
        self.leave.set()
        self.join(GENEROUS_S)
        assert not self.is_alive()


def test_many_are_in_together() -> None:
    gate = Gate()
    visitors = [Visitor(gate.together) for _ in range(3)]
    assert all(visitor.inside.wait(GENEROUS_S) for visitor in visitors)
    for visitor in visitors:
        visitor.gone()


def test_one_alone_keeps_everybody_out() -> None:
    gate = Gate()
    suspect = Visitor(gate.alone)
    assert suspect.inside.wait(GENEROUS_S)
    others = [Visitor(gate.together), Visitor(gate.alone)]
    assert not any(visitor.inside.wait(WATCH_S) for visitor in others)
    suspect.gone()
    for visitor in others:
        visitor.leave.set()
    for visitor in others:
        visitor.gone()
        assert visitor.inside.is_set()


def test_one_alone_waits_for_those_inside_and_goes_before_those_who_come_later() -> None:
    gate = Gate()
    inside = [Visitor(gate.together) for _ in range(2)]
    assert all(visitor.inside.wait(GENEROUS_S) for visitor in inside)
    suspect = Visitor(gate.alone)
    assert not suspect.inside.wait(WATCH_S)
    late = Visitor(gate.together)
    assert not late.inside.wait(WATCH_S)
    inside[0].gone()
    assert not suspect.inside.wait(WATCH_S)
    inside[1].gone()
    assert suspect.inside.wait(GENEROUS_S)
    assert not late.inside.is_set()
    suspect.gone()
    assert late.inside.wait(GENEROUS_S)
    late.gone()


def test_an_error_inside_leaves_the_gate_open() -> None:
    gate = Gate()
    for enter in (gate.alone, gate.together):
        with pytest.raises(RuntimeError), enter():
            raise RuntimeError
    after = Visitor(gate.alone)
    assert after.inside.wait(GENEROUS_S)
    after.gone()


def test_under_load_nobody_starves_and_alone_is_alone() -> None:
    gate, lock = Gate(), threading.Lock()
    inside = {"together": 0, "alone": 0}
    broken: list[dict[str, int]] = []

    def visit(number: int) -> None:
        kind = "alone" if number % 5 == 0 else "together"
        with gate.alone() if kind == "alone" else gate.together():
            with lock:
                inside[kind] += 1
                if inside["alone"] > 1 or (inside["alone"] and inside["together"]):
                    broken.append(dict(inside))
            with lock:
                inside[kind] -= 1

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(visit, range(500), timeout=GENEROUS_S))
    assert broken == []


def test_claims_are_listed_while_they_are_held() -> None:
    under_way = UnderWay()
    assert under_way.tokens() == []
    assert under_way.oldest_s() < 1
    with under_way.holding("first"), under_way.holding("second"):
        assert under_way.tokens() == ["first", "second"]
        assert under_way.oldest_s() >= 0
    assert under_way.tokens() == []
