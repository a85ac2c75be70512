"""The `with` block of an agent: within it the agent is started, once at a time."""

from __future__ import annotations

from typing import Self


class StartedAgent:
    """What agents have in common that can be used only in their `with` block."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._started = False

    def __enter__(self) -> Self:
        if self._started:
            raise RuntimeError(f"{self._name} is started already; leave its `with` block first")
        self._start()
        self._started = True
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._started = False

    def _start(self) -> None:
        """What the start takes; by default nothing. An agent whose start fails is not started."""

    def _stop(self) -> None:
        """What is to be ended, started or not; by default nothing."""

    def _must_be_started(self) -> None:
        if not self._started:
            raise RuntimeError(f"{self._name} is not started; use it in a `with` block")
