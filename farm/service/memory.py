"""What was answered before and still holds, so that it is not computed again."""

from __future__ import annotations

import pickle
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from farm.farm import Farm
from farm.store import Store

Question = tuple[tuple[str, ...], str, bool]
"""Networks, a device, and whether the answer is to be explained."""

_KEPT = 4096
"""Answers that are remembered while they hold."""

_KEPT_BYTES = 128 << 20
"""And what they take together."""

_LARGEST = 4
"""An answer that would take more than such a part of it is not remembered."""

_IN_MEMORY = 3
"""How many times its pickle an answer takes: 2.5 for predictions of 10,000 networks."""


@dataclass(frozen=True)
class _Kept:
    holds: Hashable
    answer: Any
    size: int


class Memory:
    """Answers, each with what it holds for; the least used are forgotten. Threads share one.

    most, most_bytes: how many are kept, and of what size together, with what was asked.
    """

    def __init__(self, most: int = _KEPT, most_bytes: int = _KEPT_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, _Kept] = OrderedDict()

    def recall(self, key: Hashable, holds: Hashable) -> Any:
        """What was kept; None where it holds no longer."""
        with self._lock:
            known = self._known.get(key)
            if known is None or known.holds != holds:
                return None
            self._known.move_to_end(key)
            return known.answer

    def keep(self, key: Hashable, holds: Hashable, answer: Any) -> None:
        size = _size((key, answer))
        with self._lock:
            if key in self._known:
                self._bytes -= self._known.pop(key).size
            if size > self._most_bytes // _LARGEST:
                return
            self._known[key] = _Kept(holds, answer, size)
            self._bytes += size
            while len(self._known) > self._most or self._bytes > self._most_bytes:
                _, forgotten = self._known.popitem(last=False)
                self._bytes -= forgotten.size


def _size(answer: object) -> int:
    """Bytes, roughly."""
    return _IN_MEMORY * len(pickle.dumps(answer, pickle.HIGHEST_PROTOCOL))


class Front:
    """What was told before and still holds, without a lane. farm: its cluster.yaml. store: of the
    thread of the event loop."""

    def __init__(self, farm: Farm, store: Store, memory: Memory) -> None:
        self._farm = farm
        self._store = store
        self._memory = memory

    def recall(self, question: Question) -> bytes | None:
        """The answer to a question, encoded."""
        holds = changed_at(self._farm), self._store.version()
        found: bytes | None = self._memory.recall(("told", question), holds)
        return found


def changed_at(farm: Farm) -> int:
    """When cluster.yaml was written last; the same while it is missing or being written."""
    try:
        return farm.config.path.stat().st_mtime_ns
    except OSError:
        return 0
