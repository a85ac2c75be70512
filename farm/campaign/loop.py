"""The campaign: choose, assign, collect, learn, stop.

All state is rows: which networks are wanted (requests) and what came of them (outcomes). A
campaign that died anywhere goes on by running again; what it was doing then is done once more.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from math import ceil

from farm.campaign import kernels, known, progress
from farm.campaign.dispatch import Dispatcher
from farm.campaign.grouping import GROUP
from farm.campaign.progress import Counts, DeviceProgress, Evidence, Progress
from farm.compile.artifacts import ArtifactStore
from farm.core.values import KERNEL, Network
from farm.execution.protocol import Decided, Executor
from farm.execution.schedule import eta_s
from farm.inventory.config import ControlPolicy
from farm.measurement.verdict import NOT_LEFT_ALONE
from farm.prediction.decisions import Decision, Question
from farm.prediction.selection import Candidates
from farm.store import Holding, Request, device_thing

PARTS = 5
"""A budget is asked for in so many parts at least, each chosen by what came of those before."""

ALONE = 8
"""Devices up to which few networks are decided on at a time: beyond, all share one predictor, and
decisions would take longer than measurements."""

TRIES = 3
"""Decisions in a row that may fail before a device's networks are taken in the seed's order."""

AGAIN_SHARE = 0.25
"""Of a device's time in a campaign, what may go into measuring disturbed results again."""

Watch = Callable[[Progress], None]


class Campaign:
    """One run of a stored campaign: `run` works until it is done or cancelled.

    about: the networks that its plan is about. holding: of its devices.
    policies: how the devices are watched over.
    again: requests that have an outcome and are measured once more.
    """

    def __init__(
        self,
        name: str,
        about: Candidates,
        holding: Holding,
        executor: Executor,
        artifacts: ArtifactStore,
        watch: Watch,
        policies: Mapping[str, ControlPolicy],
        again: Collection[Request] = (),
    ) -> None:
        self.name = name
        self._store = store = holding.store
        self.plan = store.campaign(name).plan
        self._watch = watch
        self._about = about
        specs = self.plan.spec_of
        self._work = Dispatcher(holding, executor, artifacts, specs, self._pending, policies)
        self._asked: dict[str, dict[str, dict[Network, None]]] = {
            purpose: {device: {} for device in self.plan.devices}
            for purpose in ("holdout", "learn")
        }
        requests = store.requests(name)
        for request in requests:
            self._asked.get(request.purpose, {}).get(request.device, {})[request.network] = None
        self._begun = {request.device for request in requests if request.purpose != KERNEL}
        self._choosing: set[str] = set()
        self._stopped = set(store.stops(name))
        self._refused = Counter[str]()
        self._decisions: dict[str, Decision] = {}
        self._said: set[str] = set()
        began = store.counts(name)
        self._counts = {device: Counts(sum(began[device])) for device in began}
        self._evidence = Evidence(store, name, self.plan.devices)
        self._facts = executor.facts
        self._kernels_asked = not self.plan.kernels
        self._started_s = self._tell_at_s = time.monotonic()
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

    def _pending(self, device: str) -> Collection[Request]:
        """The campaign's requests of a device without an outcome; while it has any on any device,
        what queries that wait for this one want comes first."""
        pending = self._store.pending_by_device(self.name)
        own = pending.get(device, {}).values()
        queries = self._store.pending_by_device(None).get(device, {}).values()
        asked = queries and any(pending.values()) and self._is_waited_for(device)
        return [*queries, *own] if asked else own

    def _is_waited_for(self, device: str) -> bool:
        return device_thing(device) in self._store.waited_for()

    def _step(self) -> bool:
        """Start what can start; false when there is nothing left to wait for."""
        for decided in self._work.take_decisions():
            self._follow(decided)
        if not self._store.is_cancelled(self.name):
            if not self._exhausted:
                self._choose()
            self._work.start()
            if self._work.idle and self._repeat():
                self._work.start()
            if self._work.idle:
                self._work.close()
        else:
            self._work.start_no_more()
        self._tell()
        return not self._work.idle

    def _tell(self) -> None:
        """Tell who watches. Of many devices that takes longer than a step: for a fiftieth of the
        time, and at the end."""
        began_s = time.monotonic()
        many = len(self.plan.devices) > ALONE
        if many and began_s < self._tell_at_s and not self._work.idle:
            return
        self._watch(self._progress())
        ended_s = time.monotonic()
        self._tell_at_s = ended_s + 49 * (ended_s - began_s)

    def _repeat(self) -> bool:
        """Ask again for what was disturbed, on devices that are left alone now: a group at a time,
        while it helps and a share of the device's time is left for it. Whether anything was."""
        asked = [self._repeat_on(device) for device in self.plan.devices]
        return any(asked)

    def _repeat_on(self, device: str) -> bool:
        repeated = [
            better for request, better in self._work.outcomes.improved if request.device == device
        ]
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
        if self.plan.device_seconds is None:
            return False
        return self.plan.exhausted(self._store.device_seconds(self.name))

    def _choose(self) -> None:
        """Ask for the holdout and what is known already first, then for what teaches most, a few
        networks at a time on each device.

        A device in quarantine is not waited for: the others go on.
        """
        self._choosing |= self._work.take_stirred()
        asking = [device for device in self.plan.devices if device in self._choosing]
        free = [device for device in asking if not self._work.barred(device)]
        if not free:
            return
        if not self._kernels_asked:
            self._ask_for_kernels()
        if new := [device for device in free if device not in self._begun]:
            with self._store.together():
                for device in new:
                    self._begin(device)
        pending = self._store.pending_by_device(self.name)
        for device in free:
            if device in self._stopped or not self._choose_on(
                device, pending.get(device, {}).values()
            ):
                self._choosing.discard(device)

    def _begin(self, device: str) -> None:
        """Ask for the networks that only judge, and for those that are known."""
        self._begun.add(device)
        self._ask(list(self._about.holdout), device, "holdout")
        if self.plan.fresh:
            return
        spec = self.plan.spec_of[device]
        found = known.observed(self._store, self.plan.space, device, spec)
        learnt = known.to_learn(self._about, found)
        self._ask(learnt[: self.plan.budget], device, "learn")
        used = known.reuse(self._store, self.name, device, spec, found)
        if used:
            one = used == 1
            self._events.append(
                f"{device}: {used} of the networks {'is' if one else 'are'} known already and "
                f"{'is' if one else 'are'} not measured again; --fresh measures anew"
            )

    def _choose_on(self, device: str, pending: Collection[Request]) -> bool:
        """Ask what a device measures next, while there is enough for it to do; whether that has to
        wait for other devices."""
        left = self.plan.budget - len(self._asked["learn"][device])
        if left <= 0 or self._work.deciding(device):
            return False
        if not self._work.may_decide(device):
            return True
        if any(request.purpose == KERNEL for request in pending):
            return False  # what is chosen by comes from them
        waiting = [r.network for r in pending if r.purpose == "learn"]
        part = self._part(device)
        ahead = part * (1 if len(self.plan.devices) <= ALONE else 3)
        more = min(ahead + part - len(waiting), left)
        judged = not any(request.purpose == "holdout" for request in pending)
        if more <= 0 or len(waiting) > ahead:
            return False
        if self.plan.has_goal and not judged:
            more = min(more, part)  # it may be reached already
        if self._refused[device] >= TRIES:
            self._refused[device] = TRIES - 1  # it is asked once more for the next part
            self._ask(self._in_order(device, more), device, "learn")
            return False
        ended = self._asked["learn"][device].keys() - set(waiting)
        by_kernels = self._by_kernels(device)
        question = Question(
            self.name, device, more, tuple(waiting), tuple(sorted(ended)), by_kernels, judged
        )
        self._work.decide(question, alike=not self.plan.coarser)
        return False

    def _part(self, device: str) -> int:
        """How many networks a device is asked for at a time: few teach more each, and many share
        their control networks."""
        if len(self.plan.devices) > ALONE:
            return GROUP
        if self._facts[device].exact:
            return 1  # it has no control networks: nothing is gained by measuring together
        if self.plan.select == "random" or self._by_kernels(device):
            return GROUP  # what came of those before does not matter
        return max(GROUP // 2, min(GROUP, ceil(self.plan.budget / PARTS)))

    def _in_order(self, device: str, n: int) -> list[Network]:
        """The next networks in the seed's order."""
        left = (
            network
            for network in self._about.pool
            if network not in self._about.withheld and network not in self._asked["learn"][device]
        )
        return [network for network, _ in zip(left, range(n), strict=False)]

    def _follow(self, decided: Decided) -> None:
        """Do what was decided of a device."""
        device, decision = decided.question.device, decided.outcome
        if isinstance(decision, str):
            self._refused[device] += 1
            said = f"{device}: networks are taken in the seed's order, as nothing can be decided: "
            if self._refused[device] == TRIES and said not in self._said:
                self._said.add(said)
                self._events.append(said + decision)
            return
        self._refused[device] = 0
        self._evidence.learn(device, decision.learnt)
        if decision.remark and decision.remark not in self._said:
            self._said.add(decision.remark)
            self._events.append(f"{device}: {decision.remark}")
        self._decisions[device] = decision
        idle = not decided.question.taken
        stop = decision.stop or (None if decision.networks or not idle else decision.why)
        if stop:
            self._stopped.add(device)
            self._store.stop(self.name, device, stop)
            self._events.append(f"{device} is done: {stop}")
        elif not self._store.is_cancelled(self.name):
            chosen = list(decision.networks)
            self._ask(chosen, device, "learn", decision.half_width, decision.why)

    def _ask_for_kernels(self) -> None:
        """Ask each device for the times that it lacks; they are measured before its networks."""
        self._kernels_asked = True
        for device, spec in self.plan.spec_of.items():
            facts = self._facts[device]
            found = kernels.wanted(self._store, self.plan, self._about, facts, spec)
            self._store.add_requests(self.name, found.networks, [device], KERNEL)
            self._events += [found.said] if found.said else []

    def _by_kernels(self, device: str) -> bool:
        """Whether a device is asked for kernels first."""
        reason = kernels.none_on(self._facts[device], self.plan.spec_of[device])
        return self.plan.kernels > 0 and reason is None

    def _ask(
        self,
        networks: list[Network],
        device: str,
        purpose: str,
        half_width: float | None = None,
        why: str | None = None,
    ) -> None:
        if networks:
            self._store.add_requests(self.name, networks, [device], purpose, half_width, why)
        self._asked[purpose][device].update(dict.fromkeys(networks))

    def _progress(self) -> Progress:
        counts, kernel_counts = self._store.counts(self.name), self._store.kernel_counts(self.name)
        elapsed_s, exhausted = time.monotonic() - self._started_s, self._exhausted
        devices = {
            device: replace(
                self._device_progress(device, *counts[device], elapsed_s, exhausted=exhausted),
                kernels=kernel_counts.get(device),
            )
            for device in counts
        }
        left = sum(d.wanted - d.ended + d.again for d in devices.values())
        left_s = eta_s(elapsed_s, self._work.outcomes.ended, left)
        building = len(self._work.building)
        events = (*self._work.take_events(), *self._events)
        self._events.clear()
        return Progress(self.name, devices, building, elapsed_s, left_s, events)

    def _device_progress(
        self, device: str, measured: int, failed: int, elapsed_s: float, *, exhausted: bool
    ) -> DeviceProgress:
        asked = sum(len(own[device]) for own in self._asked.values())
        settled = exhausted or device in self._stopped
        wanted = asked if settled else self.plan.budget + self.plan.holdout
        requests = self._work.measuring.get(device, ())
        doing = self._doing(device, measured + failed >= wanted)
        self._evidence.look(device, measured + failed + len(self._work.outcomes.improved))
        found = self._counts[device].of(doing, measured, failed, wanted, elapsed_s)
        repeated = sum(request.device == device for request, _ in self._work.outcomes.improved)
        return replace(
            found,
            again=found.again + self._repeated[device] - repeated,
            group=sum(request.purpose != "control" for request in requests),
            verdicts=self._evidence.verdicts[device],
            curve=self._evidence.curves[device],
            decision=self._decisions.get(device),
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
        if self._work.quarantined(device):
            return progress.BARRED
        if self._work.lost(device):
            return progress.LOST
        if done:
            return progress.DONE
        others = bool(self._work.measuring)
        return progress.BUILDS if self._work.building and not others else progress.WAITING
