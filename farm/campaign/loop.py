"""The campaign: choose, assign, collect, learn, stop.

All state is rows: which networks are wanted (requests) and what came of them (outcomes). A
campaign that died anywhere goes on by running again; what it was doing then is done once more.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from farm.campaign import kernels, progress
from farm.campaign.dispatch import GROUP, Dispatcher
from farm.campaign.progress import Counts, DeviceProgress, Evidence, Progress
from farm.compile.artifacts import ArtifactStore
from farm.core.values import KERNEL, Network
from farm.execution.protocol import Executor
from farm.execution.schedule import eta_s
from farm.inventory.config import ControlPolicy
from farm.measurement.verdict import NOT_LEFT_ALONE
from farm.prediction.selection import Chooser
from farm.spaces import space
from farm.store import Request, Store

CHOOSE_AHEAD = 2 * GROUP
"""Networks asked for at a time: with half of them left, compilers and devices stay busy."""


AGAIN_SHARE = 0.25
"""Of a device's time in a campaign, what may go into measuring disturbed results again."""

Watch = Callable[[Progress], None]


class Campaign:
    """One run of a stored campaign: `run` works until it is done or cancelled.

    chooser: of its plan.
    policies: how the devices are watched over.
    again: requests that have an outcome and are measured once more.
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
        again: Collection[Request] = (),
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
        self._searched = searched
        self._facts = executor.facts
        self._kernels_asked = not self.plan.kernels
        self._started_s = time.monotonic()
        self._tried = {request.id for request in again}
        self._repeated = Counter(request.device for request in again)
        self._given_up: set[str] = set()
        self._events: list[str] = []
        self._work.measure_again(again)

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
            ended = sum(map(sum, self._store.counts(self.name).values()))
            self._evidence.look(ended + len(self._work.improved))
            self._work.start()
            if self._work.idle and self._repeat():
                self._work.start()
            if self._work.idle:
                self._work.close()
        self._watch(self._progress())
        return not self._work.idle

    def _repeat(self) -> bool:
        """Ask again for what was disturbed, on devices that are left alone now: a group at a time,
        while it helps and a share of the device's time is left for it. Whether anything was."""
        asked = [self._repeat_on(device) for device in self.plan.devices]
        return any(asked)

    def _repeat_on(self, device: str) -> bool:
        repeated = [better for request, better in self._work.improved if request.device == device]
        if repeated and sum(repeated[-GROUP:]) < len(repeated[-GROUP:]) / 2:
            self._given_up.add(device)  # it is as busy as before
        if device in self._given_up or self._exhausted or not self._work.calm(device):
            return False
        found = self._store.measured(self.name, device=device)
        spent_s = sum(m.device_s for _, m in found)
        left_s = AGAIN_SHARE * spent_s - self._store.measured_again(self.name, device)[1]
        disturbed = [
            (request, m)
            for request, m in found
            if m.verdict in NOT_LEFT_ALONE and request.id not in self._tried
        ]
        chosen = [request for request, _ in disturbed[:GROUP]]
        if not chosen or sum(m.device_s for _, m in disturbed[:GROUP]) > left_s:
            return False
        self._tried |= {request.id for request in chosen}
        self._repeated[device] += len(chosen)
        self._work.measure_again(chosen)
        one = len(chosen) == 1
        self._events.append(
            f"{device} is left alone now: {len(chosen)} network{'' if one else 's'} that it "
            f"measured while it was disturbed {'is' if one else 'are'} measured again"
        )
        return True

    @property
    def _exhausted(self) -> bool:
        """Whether the plan's device seconds are spent."""
        return self.plan.exhausted(self._store.device_seconds(self.name))

    def _choose(self) -> None:
        """Ask for the holdout first, then for what teaches most, a few networks at a time.

        A device in quarantine is not waited for: the others go on.
        """
        if all(self._work.barred(device) for device in self.plan.devices):
            return
        if not self._kernels_asked:
            self._ask_for_kernels()
        if not self._asked["holdout"]:
            self._ask(self._chooser.holdout, "holdout")
        chosen = self._asked["learn"]
        more = min(CHOOSE_AHEAD, self.plan.budget - len(chosen))
        if more > 0 and self._waiting(chosen) <= CHOOSE_AHEAD // 2:
            self._ask(self._chooser.choose(list(chosen), more, self._by_kernels), "learn")

    def _ask_for_kernels(self) -> None:
        """Ask each device for the times that it lacks; they are measured before its networks."""
        self._kernels_asked = True
        for device, spec in zip(self.plan.devices, self.plan.specs, strict=True):
            facts = self._facts[device]
            found = kernels.wanted(self._store, self.plan, self._searched, facts, spec)
            self._store.add_requests(self.name, found.networks, [device], KERNEL)
            self._events += [found.said] if found.said else []

    @property
    def _by_kernels(self) -> bool:
        """Whether all devices are asked for kernels first."""
        return self.plan.kernels > 0 and all(
            kernels.none_on(self._facts[device], spec) is None
            for device, spec in zip(self.plan.devices, self.plan.specs, strict=True)
        )

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
        building = len(self._work.building)
        events = (*self._work.take_events(), *self._events)
        self._events.clear()
        return Progress(self.name, devices, building, elapsed_s, left_s, events)

    def _device_progress(
        self, device: str, measured: int, failed: int, elapsed_s: float
    ) -> DeviceProgress:
        asked = sum(map(len, self._asked.values()))
        wanted = asked if self._exhausted else self.plan.budget + self.plan.holdout
        requests = self._work.measuring.get(device, ())
        doing = self._doing(device, measured + failed >= wanted)
        found = self._counts[device].of(doing, measured, failed, wanted, elapsed_s)
        repeated = sum(request.device == device for request, _ in self._work.improved)
        return replace(
            found,
            again=found.again + self._repeated[device] - repeated,
            group=sum(request.purpose != "control" for request in requests),
            kernels=self._store.kernel_counts(self.name).get(device),
            verdicts=self._evidence.verdicts[device],
            curve=self._evidence.curves[device],
        )

    def _doing(self, device: str, done: bool) -> str:
        """One of the words of `farm.campaign.progress`."""
        requests = self._work.measuring.get(device, ())
        if any(request.purpose == KERNEL for request in requests):
            return progress.KERNELS
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
