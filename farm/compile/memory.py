"""Which intermediate tensors of a network share memory. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Lifetime:
    """A tensor that is written by call `first` and last read by call `last`."""

    size_bytes: int
    first: int
    last: int


def spans(calls: Iterable[Iterable[str]]) -> dict[str, tuple[int, int]]:
    """The first and the last call that names each value. calls: the names of each, in order."""
    found: dict[str, tuple[int, int]] = {}
    for index, names in enumerate(calls):
        for name in names:
            found[name] = (found.get(name, (index, 0))[0], index)
    return found


@dataclass
class _Slot:
    size_bytes: int
    busy_until: int


def assign_slots(lifetimes: Sequence[Lifetime]) -> tuple[list[int], list[int]]:
    """The slot of each tensor, and the size of each slot in bytes.

    Tensors that live at the same time have different slots. Slots start at their own allocation:
    TVM's kernels take no tensor that starts in the middle of one.
    """
    slots: list[_Slot] = []
    result = [0] * len(lifetimes)
    for index in sorted(range(len(lifetimes)), key=lambda i: lifetimes[i].first):
        tensor = lifetimes[index]
        number = _choose(slots, tensor)
        slots[number].size_bytes = max(slots[number].size_bytes, tensor.size_bytes)
        slots[number].busy_until = tensor.last
        result[index] = number
    return result, [slot.size_bytes for slot in slots]


def _choose(slots: list[_Slot], tensor: Lifetime) -> int:
    """The free slot whose size fits best; of equals the last used, which is still in the cache."""
    free = [n for n, slot in enumerate(slots) if slot.busy_until < tensor.first]
    if not free:
        slots.append(_Slot(tensor.size_bytes, tensor.last))
        return len(slots) - 1
    return min(
        free,
        key=lambda n: (abs(slots[n].size_bytes - tensor.size_bytes), -slots[n].busy_until),
    )
