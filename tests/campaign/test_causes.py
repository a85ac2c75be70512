"""Whose fault a failure is: pure, with a clock of the test's own."""

from __future__ import annotations

import pytest

from farm.campaign.causes import (
    BACK_OFF_S,
    COMMON_DEATHS,
    LONGEST_BACK_OFF_S,
    POISON,
    REPEATED,
    Causes,
)
from farm.core.values import Network
from farm.measurement.record import Failure
from farm.store import Request

A, B, C = (Request(i, "c1", Network("nb201", name), "pi", "learn") for i, name in enumerate("abc"))
MEASURED = object()


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def causes(clock: Clock) -> Causes:
    return Causes(900.0, clock)


def failed(request: Request, kind: str, retryable: bool = True) -> tuple[Request, Failure]:
    return request, Failure(request.network, "pi", kind, "as the test wants it", retryable)


def end(causes: Causes, *requests: Request, kind: str | None = None) -> list[bool]:
    """One job; which of its requests are over for good."""
    if kind is None:
        causes.note("pi", [(request, MEASURED) for request in requests])
        return []
    pairs = [failed(request, kind) for request in requests]
    causes.note("pi", pairs)
    return [causes.is_final(request, failure, 0) for request, failure in pairs]


def test_a_device_that_is_away_for_long_is_held_against_no_network(causes, clock):
    for _ in range(8):
        assert end(causes, A, B, kind="lost") == [False, False]
        clock.now_s += 300
    assert max(causes.strikes(A), causes.strikes(B)) == 1


def test_a_network_that_a_device_dies_of_is_set_aside_and_no_other(causes):
    assert end(causes, A, B, kind="lost") == [False, False]
    for deaths in range(2, POISON + 1):
        end(causes, B)
        assert end(causes, A, kind="lost") == [deaths == POISON]
    assert causes.strikes(B) == 1
    assert not causes.strikes(C)


def test_the_pause_doubles_up_to_a_bound_and_ends_with_the_first_result(causes, clock):
    pauses = []
    for _ in range(12):
        end(causes, A, kind="lost")
        pauses.append(causes.pause_s("pi"))
        assert causes.away("pi")
        clock.now_s = clock.now_s + (pauses[-1] or 0)
        if len(pauses) < 9:
            assert not causes.away("pi")
            assert causes.returning("pi")
    assert pauses[:3] == [BACK_OFF_S, 2 * BACK_OFF_S, 4 * BACK_OFF_S]
    assert max(pause for pause in pauses if pause is not None) <= LONGEST_BACK_OFF_S
    assert pauses[-1] is None  # given up
    end(causes, B)
    assert not causes.returning("pi")
    assert "pi is back" in causes.events


def test_it_is_given_up_once_the_patience_is_over_and_that_is_said(causes, clock):
    while causes.pause_s("pi") is not None or not causes.events:
        end(causes, A, kind="lost")
        clock.now_s += causes.pause_s("pi") or 0
    assert causes.away("pi")
    assert clock.now_s <= 100.0 + 900.0
    assert "did not come back within 900 s" in causes.events[-1]
    assert sum("lost" in event for event in causes.events) == 1


def test_what_else_may_be_somebody_elses_doing_is_tried_once_more(causes):
    for kind in ("crash", "timeout"):
        _, failure = failed(A, kind, retryable=False)
        causes.note("pi", [(A, failure)])
        assert [causes.is_final(A, failure, before) for before in range(REPEATED)] == [False, True]
    assert causes.strikes(A) == 2  # it is measured alone
    assert not causes.away("pi")
    assert causes.is_final(*failed(A, "wrong_output", retryable=False), 0)
    assert not causes.is_final(*failed(A, "changed"), 0)


def test_a_compiler_may_die_twice_of_a_build(causes):
    assert [causes.compiler_lost("x") for _ in range(POISON)] == [False, False, True]
    assert not causes.compiler_lost("y")


def test_no_build_is_to_blame_where_all_compilers_die(causes):
    """As where a cluster goes away; builds that kill compilers for ever end all the same."""
    for _ in range(COMMON_DEATHS - 1):
        assert [causes.compiler_lost(key) for key in "xyz"] == [False] * 3
    assert causes.compiler_lost("x")


def test_no_build_is_to_blame_for_compilers_that_somebody_kills(causes):
    """Not even for one after the other, as long as it is not for ever."""
    for _ in range(COMMON_DEATHS - 1):
        assert not causes.compiler_lost("x", killed=True)
    assert causes.compiler_lost("x", killed=True)


def test_a_build_is_to_blame_that_kills_compilers_which_work_in_between(causes):
    for times in range(1, POISON + 1):
        assert not causes.compiler_lost(f"another that died at time {times}")
        assert causes.compiler_lost("x") == (times == POISON)
        causes.compiler_works()
