"""A thread that answers one question after the other, so that a long one holds up no short ones of
another lane, and no devices that measure."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from farm.core.errors import TooBusy
from farm.farm import Farm
from farm.service.answering import Answering
from farm.service.memory import Memory

Found = TypeVar("Found")


class Lane:
    """most: questions that wait at a time; one more raises TooBusy. nice: how far its thread
    stands back for others of this computer."""

    def __init__(self, farm: Farm, memory: Memory, most: int, nice: int = 0) -> None:
        self._farm = farm
        self._memory = memory
        self._most = most
        self._waiting = 0
        self._computed: dict[str, asyncio.Task[Any]] = {}
        self._own = threading.local()
        # On Linux a thread has a niceness of its own.
        self._pool = ThreadPoolExecutor(1, "lane", os.nice, (nice,))

    async def ask(self, question: Callable[[Answering], Found]) -> Found:
        """Raises what the question does, and TooBusy."""
        if self._waiting >= self._most:
            raise TooBusy(f"{self._waiting} questions wait already; ask again in a moment")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, self._answer, question
            )
        finally:
            self._waiting -= 1

    async def soon(
        self, what: str, question: Callable[[Answering], Found], patience_s: float
    ) -> Found | None:
        """The answer if there is one by then; else it goes on being computed, once for all who ask
        for `what`. Raises as `ask`."""
        if what not in self._computed:
            self._computed[what] = asyncio.ensure_future(self.ask(question))
            self._computed[what].add_done_callback(lambda _: self._computed.pop(what))
        done, _ = await asyncio.wait({asked := self._computed[what]}, timeout=patience_s)
        if not done:
            asked.add_done_callback(lambda one: one.cancelled() or one.exception())
            return None
        found: Found = asked.result()
        return found

    def _answer(self, question: Callable[[Answering], Found]) -> Found:
        if not hasattr(self._own, "answering"):
            self._own.answering = Answering(self._farm, self._memory)
        answering: Answering = self._own.answering
        answering.look()
        return question(answering)

    def close(self) -> None:
        """Wait for the question that is being answered, and close the store."""
        self._pool.submit(self._close)
        self._pool.shutdown(cancel_futures=False)

    def _close(self) -> None:
        if hasattr(self._own, "answering"):
            self._own.answering.store.__exit__()
