"""What a device sees of its own core: how fast its clock is, and who else is there.

Goes to the device together with `agents/on_device/runner.py`: Python 3.9, the standard library.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Json = dict[str, Any]


_HASHED = bytes(range(256)) * 64


def clock_probe_s() -> float:
    """Seconds for a fixed piece of work in the first-level cache, the fastest of three: the
    core's clock, seen from inside, where a guest or a container is shown none.

    Each step of MD5 waits for the one before: on a core with two busy threads it takes 3 % longer.
    SHA-512, whose steps overlap, takes 45 % longer.
    """
    times, hashed = [], hashlib.md5(usedforsecurity=False)
    for _ in range(3):
        started_s = time.perf_counter()
        hashed.update(_HASHED)
        times.append(time.perf_counter() - started_s)
    return min(times)


_LOOKED_UP, _TABLE = bytes(4096), bytes(range(256))

_SHARED = 1.3
"""So many times as long takes the probe of a core that something else runs on, at least."""


class CoreProbe:
    """Whether something else ran on the core meanwhile, on its other hardware thread.

    What a hypervisor lets run there makes a network a fifth to a half slower, for milliseconds or
    minutes, and no counter that a guest can read says so. Looking bytes up in a table fills the
    core's load units: with two busy threads it takes twice as long.

    A clock's probe that was itself interrupted makes looks seem faster than they can be, and all
    others shared ever after. So of two probes the faster one counts, and a look is the fastest once
    two blocks had one like it.
    """

    def __init__(self, fastest: float = math.inf) -> None:
        """fastest: the fastest look so far, as a ratio to `clock_probe_s` of the moment."""
        self._lows = [fastest, fastest]
        self._clock_s = clock_probe_s()
        self._looks_s: list[float] = []

    @property
    def fastest(self) -> float:
        """The fastest look so far; infinite before the first."""
        return max((low for low in self._lows if math.isfinite(low)), default=math.inf)

    def look(self) -> None:
        """Before each sample, and after the last."""
        _LOOKED_UP.translate(_TABLE)  # so that both are in the first-level cache
        started_s = time.perf_counter()
        _LOOKED_UP.translate(_TABLE)
        self._looks_s.append(time.perf_counter() - started_s)

    def looks(self) -> list[float]:
        """Of each sample since the last call: the slower of the looks before and after it."""
        self.look()
        before_s, self._clock_s = self._clock_s, clock_probe_s()
        clock_s = min(before_s, self._clock_s)
        ratios = [look_s / clock_s for look_s in self._looks_s]
        self._looks_s.clear()
        self._lows = sorted([*self._lows, min(ratios)])[:2]
        return list(map(max, ratios, ratios[1:]))

    def shared(self, look: float) -> bool:
        """Whether the core was shared then, by all that is known by now."""
        return look > _SHARED * self.fastest


_PATIENCE = 3
"""Most cores that are shared at all are not for some moment of so many blocks."""


def are_one(cores: list[int]) -> bool:
    """Whether several of these are hardware threads of one core, as far as the host shows it: then
    a network shares its core with itself."""
    return any(len(_siblings(core) & set(cores)) > 1 for core in cores)


def _siblings(core: int) -> set[int]:
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    siblings: set[int] = set()
    with contextlib.suppress(OSError, ValueError):
        for part in path.read_text().split(","):
            first, _, last = part.partition("-")
            siblings |= set(range(int(first), int(last or first) + 1))
    return siblings


def on_own_core(
    sample: Callable[[Callable[[], None]], list[float]], core: CoreProbe, least: int
) -> Json:
    """The samples of a block, and the looks at the core.

    Where fewer than `least` did not, it goes on for `_PATIENCE` times as long, and adds what had
    the core to itself: but for networks so slow that a block is `least` samples, for as long as
    which a core is seldom left alone.

    sample: takes a block of samples, and calls what it is given before each.
    """
    samples_s, looks = sample(core.look), core.looks()
    for _ in range(_PATIENCE if len(samples_s) > least else 0):
        if sum(not core.shared(look) for look in looks) >= least:
            break
        more = zip(sample(core.look), core.looks())
        own = [(sample_s, look) for sample_s, look in more if not core.shared(look)]
        samples_s += [sample_s for sample_s, _ in own[:least]]
        looks += [look for _, look in own[:least]]
    return {"samples_s": samples_s, "looks": looks}


def tell_shared(block: Json, core: CoreProbe) -> None:
    """Puts into a block which samples shared the core, by all that is known of it at the end."""
    block["shared"] = list(map(core.shared, block.pop("looks")))
    block["core_probe"] = core.fastest
