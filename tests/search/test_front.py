"""Fronts and hypervolumes, against counting and sampling."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.search import front
from farm.search.front import Corner

CORNER = Corner(cost=10.0, accuracy=0.0)

points = st.lists(st.tuples(st.integers(0, 12), st.integers(-2, 10)), min_size=1, max_size=12).map(
    lambda rows: np.array(rows, float).T
)


def beats(a, b):
    return a[0] <= b[0] and a[1] >= b[1] and a != b


def counted(cost, accuracy):
    """Unit squares of the integer grid before the corner that some network dominates."""
    cells = [(x, y) for x in range(10) for y in range(10)]
    covers = lambda x, y: any(c <= x and a >= y + 1 for c, a in zip(cost, accuracy, strict=True))  # noqa: E731
    return sum(covers(x, y) for x, y in cells)


@given(points)
def test_a_front_is_what_nothing_beats(rows):
    cost, accuracy = rows
    pairs = list(zip(cost, accuracy, strict=True))
    expected = {a for a in pairs if not any(beats(b, a) for b in pairs)}
    found = front.non_dominated(cost, accuracy)
    assert {pairs[row] for row in found} == expected
    assert len(found) == len(expected)
    assert (np.diff(cost[found]) > 0).all()
    own = front.beaten_by(cost, accuracy)
    assert [own[i] for i in range(len(pairs))] == [sum(beats(b, a) for b in pairs) for a in pairs]


@given(points)
def test_a_hypervolume_is_the_area_that_is_dominated(rows):
    cost, accuracy = rows
    assert front.hypervolume(cost[None], accuracy, CORNER)[0] == counted(cost, accuracy)


@settings(max_examples=50)
@given(points, points)
def test_a_gain_is_the_hypervolume_with_another_network_less_that_without(known, others):
    gains = front.gains(known[0][None], known[1], others[0][None], others[1], CORNER)[0]
    before = counted(*known)
    for gain, cost, accuracy in zip(gains, *others, strict=True):
        both = np.append(known[0], cost), np.append(known[1], accuracy)
        assert gain == counted(*both) - before


def test_scenarios_are_apart_from_each_other():
    accuracy = np.array([4.0, 6.0])
    cost = np.array([[1.0, 5.0], [12.0, 5.0]])
    assert front.hypervolume(cost, accuracy, CORNER).tolist() == [4 * 4 + 5 * 6, 5 * 6]
    none = np.empty((1, 0))
    assert front.gains(none, np.empty(0), cost, accuracy, CORNER).tolist() == [[36, 30], [0, 30]]
