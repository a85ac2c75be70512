"""Tensors that live at the same time never share memory."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from farm.compile.memory import Lifetime, assign_slots

lifetimes = st.builds(
    lambda size, first, length: Lifetime(size, first, first + length),
    st.integers(1, 1000),
    st.integers(0, 30),
    st.integers(0, 10),
)


@given(st.lists(lifetimes, max_size=30))
def test_no_two_living_tensors_share_a_slot(tensors: list[Lifetime]) -> None:
    slots, sizes = assign_slots(tensors)
    for i, j in combinations(range(len(tensors)), 2):
        a, b = tensors[i], tensors[j]
        apart = a.last < b.first or b.last < a.first
        assert slots[i] != slots[j] or apart
    for slot, tensor in zip(slots, tensors, strict=True):
        assert sizes[slot] >= tensor.size_bytes


def test_a_chain_takes_turns_in_two_slots() -> None:
    slots, sizes = assign_slots([Lifetime(100, i, i + 1) for i in range(10)])
    assert slots == [0, 1] * 5
    assert sizes == [100, 100]
