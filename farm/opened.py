"""A farm's configuration, its store, and what carries work out on its devices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from farm.compile.artifacts import ArtifactStore
from farm.core.errors import UnknownName
from farm.core.hosts import use_ray_token
from farm.core.values import DeviceFacts
from farm.execution.inline import InlineExecutor
from farm.execution.protocol import Executor
from farm.inventory.config import Device, FarmConfig
from farm.store import Store

if TYPE_CHECKING:
    from farm.prediction.decider import Decider

EXECUTORS = ("ray", "inline")


@dataclass(frozen=True)
class Opened:
    """What every part of `farm.farm.Farm` works with."""

    config: FarmConfig

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The store, for reading. Raises StoreError where there is none yet."""
        with Store(self.config.store, create=False) as store:
            yield store

    @contextmanager
    def _executor(
        self, kind: str, devices: Sequence[str], seen: Mapping[str, DeviceFacts] | None = None
    ) -> Iterator[Executor]:
        """The executor, started, with all targets known to the compiler. seen: what was found on
        devices that may be away at first."""
        chosen = [self.config.device(name) for name in devices]
        with self._make_executor(kind, chosen, seen) as executor:
            targets = [facts.target for facts in executor.facts.values()]
            for target in targets:
                if target is not None:
                    executor.check_target(target)
            yield executor

    def _make_executor(
        self, kind: str, devices: Sequence[Device], seen: Mapping[str, DeviceFacts] | None
    ) -> Executor:
        decider = partial(_decider, self.config)
        if kind == "inline":
            return InlineExecutor(devices, self._artifacts(), decider, seen)
        use_ray_token()
        from farm.execution.on_ray import RayExecutor

        config = self.config
        return RayExecutor(
            *(devices, self._artifacts(), config.ray, config.compile_workers, decider, seen)
        )

    def _artifacts(self) -> ArtifactStore:
        return ArtifactStore(self.config.store / "artifacts")


def _decider(config: FarmConfig) -> Decider:
    """The central predictor over the farm's store."""
    from farm.prediction.decider import Decider

    return Decider.at(config.store, config)


def must_be_executor(kind: str) -> None:
    """Raises UnknownName; asked before anything is made on the disk."""
    if kind not in EXECUTORS:
        raise UnknownName("executor", kind, EXECUTORS)
