"""Runs compiled networks on a device. Needs Python 3.9 and the slim runtime, nothing of the farm."""

from __future__ import annotations

import hashlib
import struct
from array import array

_BLOCK = 8191
"""Values before the sequence repeats: a prime, so that no two rows of a tensor are alike."""

_BOUNDS = (2.0**-100, 2.0**100)
"""Bounds whose smallest value is still a normal float32, and whose largest is finite."""


def seeded_values(seed: int, index: int, count: int, bound: float) -> array[float]:
    """Argument number `index` of a network: (count,) float32 in (-bound, bound), never zero.

    The same on every host and Python: SHAKE-256 of (seed, index) gives 16-bit integers h, and
    (2 h + 1 - 2^16) / 2^16 is a uniform grid without a zero. Raises ValueError for a bound whose
    values would be denormal or infinite.
    """
    if not _BOUNDS[0] <= bound <= _BOUNDS[1]:
        raise ValueError(f"`bound` must lie in [2^-100, 2^100], got {bound!r}")
    block = min(count, _BLOCK)
    random_bytes = hashlib.shake_256(f"{seed}/{index}".encode()).digest(2 * block)
    grid = struct.unpack(f"<{block}H", random_bytes)
    values = array("f", [(2 * h - 65535) / 65536 * bound for h in grid])
    return (values * (count // block + 1))[:count] if count > block else values
