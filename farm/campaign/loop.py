"""The campaign: choose, assign, collect, learn, stop.

All state is rows: which networks are wanted (requests) and what came of them (outcomes). A
campaign that died anywhere goes on by running again; what it was doing then is done once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from farm.campaign import progress
from farm.campaign.dispatch import GROUP, Dispatcher
from farm.campaign.progress import Counts, DeviceProgress, Evidence, Progress
from farm.compile.artifacts import ArtifactStore
from farm.core.values import Network
from farm.execution.protocol import Executor
from farm.execution.schedule import eta_s
from farm.inventory.config import ControlPolicy
from farm.prediction.selection import Chooser
from farm.spaces import space
from farm.store import Store

CHOOSE_AHEAD = 2 * GROUP
"""Networks asked for at a time: with half of them left, compilers and devices stay busy."""


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
        began = store.counts(name)
        self._counts = {device: Counts(sum(began[device])) for device in began}
        searched = space(self.plan.space, store.models)
        self._evidence = Evidence(store, name, self.plan, searched)
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
            # Before anything starts: devices of this computer should be measured undisturbed.
            self._evidence.look(sum(map(sum, self._store.counts(self.name).values())))
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
        elapsed_s = time.monotonic() - self._started_s
        devices = {
            device: self._device_progress(device, *counts[device], elapsed_s) for device in counts
        }
        left = sum(d.wanted - d.ended + d.again for d in devices.values())
        left_s = eta_s(elapsed_s, self._work.ended, left)
        building, events = len(self._work.building), tuple(self._work.take_events())
        return Progress(self.name, devices, building, elapsed_s, left_s, events)

    def _device_progress(
        self, device: str, measured: int, failed: int, elapsed_s: float
    ) -> DeviceProgress:
        asked = sum(map(len, self._asked.values()))
        wanted = asked if self._exhausted else self.plan.budget + self.plan.holdout
        requests = self._work.measuring.get(device, ())
        doing = self._doing(device, measured + failed >= wanted)
        return replace(
            self._counts[device].of(doing, measured, failed, wanted, elapsed_s),
            group=sum(request.purpose != "control" for request in requests),
            verdicts=self._evidence.verdicts[device],
            curve=self._evidence.curves[device],
        )

    def _doing(self, device: str, done: bool) -> str:
        """One of the words of `farm.campaign.progress`."""
        requests = self._work.measuring.get(device, ())
        if any(request.purpose != "control" for request in requests):
            return progress.MEASURING
        if requests:
            return progress.CHECKING
        if self._work.barred(device):
            return progress.BARRED
        if done:
            return progress.DONE
        others = bool(self._work.measuring)
        return progress.BUILDS if self._work.building and not others else progress.WAITING
