"""Processes that keep a core and the memory busy beside what is measured."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

_BURST_S = (0.05, 1.0)
_BYTES = 32 << 20


@contextmanager
def beside(work: Callable[[int], None], count: int, seed: int) -> Iterator[None]:
    """`count` processes that do `work`, each with a seed of its own from `seed` on."""
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=work, args=(seed + number,), daemon=True) for number in range(count)
    ]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()


class Burster:
    """Computes, or copies memory, in bursts of random length."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self._data = np.zeros(_BYTES // 8)
        self._parent = os.getppid()

    @property
    def wanted(self) -> bool:
        """Whether who started it is still there: it must not go on where a benchmark was killed."""
        return os.getppid() == self._parent

    def burst(self) -> None:
        end_s, copies = time.monotonic() + self.rng.uniform(*_BURST_S), self.rng.random() < 0.5
        while time.monotonic() < end_s:
            if copies:
                self._data[:] = self._data[::-1]
            else:
                sum(i * i for i in range(10_000))
