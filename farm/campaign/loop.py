"""The campaign: choose, assign, collect, learn, stop.

All state is rows: which networks are wanted (requests) and what came of them (outcomes). A
campaign that died anywhere goes on by running again; what it was doing then is done once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from farm.campaign.dispatch import GROUP, Dispatcher
from farm.compile.artifacts import ArtifactStore
from farm.core.values import Network
from farm.execution.protocol import Executor
from farm.execution.schedule import eta_s
from farm.inventory.config import ControlPolicy
from farm.prediction.selection import Chooser
from farm.store import Store

CHOOSE_AHEAD = 2 * GROUP
"""Networks asked for at a time: with half of them left, compilers and devices stay busy."""


@dataclass(frozen=True)
class DeviceProgress:
    """doing: the codes of the networks that are being measured now."""

    doing: tuple[str, ...]
    measured: int
    failed: int
    wanted: int


@dataclass(frozen=True)
class Progress:
    """What a campaign is doing. left_s: None while it cannot be known."""

    campaign: str
    devices: Mapping[str, DeviceProgress]
    building: int
    elapsed_s: float
    left_s: float | None


Watch = Callable[[Progress], None]


class Campaign:
    """One run of a stored campaign: `run` works until it is done or cancelled.

    chooser: of its plan.
    policies: how the devices are watched over.
    """

    def __init__(
        self,
        name: str,
        chooser: Chooser,
        store: Store,
        executor: Executor,
        artifacts: ArtifactStore,
        watch: Watch,
        policies: Mapping[str, ControlPolicy],
    ) -> None:
        self.name = name
        self.plan = store.campaign(name).plan
        self._store = store
        self._watch = watch
        self._chooser = chooser
        specs = dict(zip(self.plan.devices, self.plan.specs, strict=True))
        pending = lambda: store.pending(name)  # noqa: E731
        self._work = Dispatcher(store, executor, artifacts, specs, pending, policies)
        self._asked = {
            purpose: dict.fromkeys(r.network for r in store.requests(name, purpose))
            for purpose in ("holdout", "learn")
        }
        self._started_s = time.monotonic()

    def run(self) -> None:
        """Work until every request has its outcome, or the campaign was cancelled."""
        run = self._store.begin_run(self.name)
        while self._step():
            while not self._work.work() and not self._store.is_cancelled(self.name):
                pass
        self._store.end_run(run)

    def _step(self) -> bool:
        """Start what can start; false when there is nothing left to wait for."""
        if not self._store.is_cancelled(self.name):
            if not self._exhausted:
                self._choose()
            self._work.start()
            if self._work.idle:
                self._work.close()
        self._watch(self._progress())
        return not self._work.idle

    @property
    def _exhausted(self) -> bool:
        """Whether the plan's device seconds are spent."""
        limit_s = self.plan.device_seconds
        return limit_s is not None and self._store.device_seconds(self.name) >= limit_s

    def _choose(self) -> None:
        """Ask for the holdout first, then for what teaches most, a few networks at a time.

        A device in quarantine is not waited for: the others go on.
        """
        if all(self._work.barred(device) for device in self.plan.devices):
            return
        if not self._asked["holdout"]:
            self._ask(self._chooser.holdout, "holdout")
        chosen = self._asked["learn"]
        more = min(CHOOSE_AHEAD, self.plan.budget - len(chosen))
        if more > 0 and self._waiting(chosen) <= CHOOSE_AHEAD // 2:
            self._ask(self._chooser.choose(list(chosen), more), "learn")

    def _waiting(self, networks: Collection[Network]) -> int:
        """How many of the networks some device that is trusted has yet to measure."""
        pending = self._store.pending(self.name)
        waiting = {r.network for r in pending if not self._work.barred(r.device)}
        return len(waiting.intersection(networks))

    def _ask(self, networks: list[Network], purpose: str) -> None:
        self._store.add_requests(self.name, networks, self.plan.devices, purpose)
        self._asked[purpose].update(dict.fromkeys(networks))

    def _progress(self) -> Progress:
        counts = self._store.counts(self.name)
        devices = {device: self._device_progress(device, *counts[device]) for device in counts}
        left = sum(d.wanted - d.measured - d.failed for d in devices.values())
        elapsed_s = time.monotonic() - self._started_s
        left_s = eta_s(elapsed_s, self._work.ended, left)
        return Progress(self.name, devices, len(self._work.building), elapsed_s, left_s)

    def _device_progress(self, device: str, measured: int, failed: int) -> DeviceProgress:
        requests = self._work.measuring.get(device, ())
        wanted = self.plan.budget + self.plan.holdout
        doing = tuple(request.network.code for request in requests)
        return DeviceProgress(doing, measured, failed, wanted)
