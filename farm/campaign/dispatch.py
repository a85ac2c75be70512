"""Carries requests out: builds what is missing, measures what is built, stores what came of it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from farm.campaign.builds import Builds
from farm.campaign.causes import Causes
from farm.campaign.grouping import (
    GROUP,
    Manner,
    Ready,
    in_one_session,
    is_kernel,
    manner,
    next_of,
    urgency,
    without_small_groups,
)
from farm.campaign.outcomes import Outcomes
from farm.campaign.turns import Turns
from farm.compile.artifacts import ArtifactStore
from farm.core.errors import BuildError, CompilerLost
from farm.core.values import KERNEL, Network
from farm.devices.monitor import Monitor
from farm.execution.protocol import BuildJob, Built, Decided, Executor, Measured, MeasureJob
from farm.execution.schedule import Place, Running, next_starts
from farm.inventory.config import ControlPolicy
from farm.measurement.spec import MeasureSpec
from farm.prediction.decisions import Question
from farm.store import Holding, Request

POLL_S = 0.5
"""How soon `work` returns while nothing happens, so that a wish to cancel is seen."""


@dataclass(frozen=True)
class _Step:
    """What can start now, and which requests can never be built."""

    measure: Mapping[str, Sequence[Ready]]
    build: tuple[tuple[Place, BuildJob], ...]
    failed: tuple[tuple[Request, BuildError], ...]


class Dispatcher:
    """Works on the requests of one campaign, or of a query, with one executor.

    A step costs what can start and what changed: a device for which nothing can start is not looked
    at again before something happens to it.

    specs: how each device measures; its keys are the devices that are used.
    pending: the requests of a device without an outcome, in the order in which they are wanted.
    policies: how devices are watched over; one that is not named has no control networks.
    patience_s: see `Causes`.
    outcomes: what came of them.
    """

    def __init__(
        self,
        holding: Holding,
        executor: Executor,
        artifacts: ArtifactStore,
        specs: Mapping[str, MeasureSpec],
        pending: Callable[[str], Collection[Request]],
        policies: Mapping[str, ControlPolicy] | None = None,
        patience_s: float | None = None,
    ) -> None:
        self._store = store = holding.store
        self._executor = executor
        self._specs = specs
        self._pending = pending
        facts = {device: executor.facts[device] for device in specs}
        self._places = {d: Place(own.host, frozenset(own.cores)) for d, own in facts.items()}
        self._works = {device: Running(place, device) for device, place in self._places.items()}
        self._on_cores = {device for device, place in self._places.items() if place.cores}
        self._turns = Turns(holding)
        self._open = set(specs)
        self._stirred = set(specs)
        self._builds = Builds(store, artifacts, specs)
        self._building: dict[str, tuple[BuildJob, Place]] = {}
        self._incumbents: dict[str, str] = {}
        self.measuring: dict[str, list[Request]] = {}
        self._deciding: dict[str, bool] = {}
        self._decided: list[Decided] = []
        self._spaces: dict[str, str] = {}
        self._ending = False
        self._causes = Causes(patience_s)
        self._monitor = Monitor(store, executor.facts, specs, policies or {}, executor.away)
        self.outcomes = Outcomes(store, self._causes, self._monitor)

    @property
    def building(self) -> tuple[Network, ...]:
        """The networks that are being built."""
        return tuple(job.network for job, _ in self._building.values())

    @property
    def idle(self) -> bool:
        """Whether nothing goes on and nothing is waited for: after `start`, that nothing is left
        to do, but perhaps to `close`."""
        return self._resting and not self._turns.awaited and self._pause_s is None

    @property
    def _pause_s(self) -> float | None:
        """How long until a device is looked at again that cannot work now; None for none."""
        if self._ending:
            return None
        found = (self._pause_on(device) for device in self._open)
        return min((pause_s for pause_s in found if pause_s is not None), default=None)

    def _pause_on(self, device: str) -> float | None:
        """The same of one device."""
        lost_s = self._causes.pause_s(device)
        if not self.quarantined(device):
            wanted = lost_s is not None and self._wanted_on(device)
            return lost_s if wanted else None
        check_s = self._monitor.pause_s(device)
        if check_s is None or self._causes.given_up(device):
            return None
        return max(check_s, lost_s or 0.0)

    @property
    def _resting(self) -> bool:
        return not (self.measuring or self._building or self._deciding)

    def may_decide(self, device: str) -> bool:
        """Whether it can be decided what a device measures next: it is not being decided already,
        and where that is computed, nothing measures."""
        if self.deciding(device):
            return False
        at, measuring = self._executor.decides_at, self.measuring.keys() & self._on_cores
        return not any(self._places[one].overlaps(at) for one in measuring)

    def deciding(self, device: str) -> bool:
        """Whether it is being decided what a device measures next."""
        return device in self._deciding

    def decide(self, question: Question, alike: bool) -> None:
        """Ask what a device measures next; `take_decisions` has the answer.

        alike: whether it will be measured together with whatever waits; or only with what was
            decided on before.
        """
        self._deciding[question.device] = alike
        self._executor.decide(question)

    def take_decisions(self) -> list[Decided]:
        """Those that were made since this was asked last."""
        decided, self._decided = self._decided, []
        return decided

    def take_stirred(self) -> set[str]:
        """The devices that something happened to since this was asked last: requests came or ended,
        a measurement or a decision. All of them at first, and where another process wrote."""
        self._look_up()
        stirred, self._stirred = self._stirred, set()
        return stirred

    def take_events(self) -> list[str]:
        """What a person should know that happened since this was asked last, a sentence each."""
        events = [*self._causes.events, *self._monitor.events]
        self._causes.events, self._monitor.events = [], []
        return events

    def barred(self, device: str) -> bool:
        """Whether a device is in quarantine, or was lost and is not tried yet."""
        return self.quarantined(device) or self._causes.away(device)

    def quarantined(self, device: str) -> bool:
        """Whether a device is in quarantine."""
        return self._monitor.barred(device)

    def lost(self, device: str) -> bool:
        """Whether a device was lost, and has not measured anything since."""
        return self._causes.returning(device)

    def given_up(self, device: str) -> bool:
        """Whether a device was lost for so long that it is not tried again."""
        return self._causes.given_up(device)

    def calm(self, device: str) -> bool:
        """Whether a device was left alone when it was looked at last."""
        return not self.barred(device) and self._monitor.calm(device)

    def measure_again(self, requests: Iterable[Request]) -> None:
        """Measure requests that have an outcome; the narrower interval of the two will count."""
        self.outcomes.again |= {request.id: request for request in requests}
        self._stir({request.device for request in requests})

    def close(self) -> None:
        """Nothing more will be wanted: start what shows that the devices stayed what they were."""
        self._monitor.close()
        self._stir(self._specs)
        self.start()

    def start_no_more(self) -> None:
        """Wait for nothing but what goes on."""
        self._ending = True
        self._turns.want(self._running())

    def start(self) -> None:
        """Start all that the schedule allows now."""
        self._ending = False
        wanted = self._wanted()
        self._expect(wanted)
        self._carry_out(self._decide(wanted))
        self._open = {device for device in self._open if self._may_start(device, wanted)}

    def _may_start(self, device: str, wanted: Mapping[str, Sequence[Request]]) -> bool:
        """Whether something may start on a device though nothing happens to it meanwhile."""
        waits = bool(wanted.get(device)) or self.quarantined(device)
        return waits or (device not in self.measuring and bool(self._monitor.waiting(device)))

    def _stir(self, devices: Iterable[str]) -> None:
        """Take note that something happened to devices."""
        self._stirred.update(devices)
        self._open.update(devices)

    def _look_up(self) -> None:
        """Take note of requests that came or ended since."""
        changed = self._store.take_changed_devices()
        self._stir(self._specs if changed is None else changed & self._specs.keys())

    def _expect(self, wanted: Mapping[str, Sequence[Request]]) -> None:
        """Tell the monitor what comes next on each device, so that it asks for what is due."""
        for device, coming in wanted.items():
            self._monitor.expect(device, [self._space(request) for request in coming[:GROUP]])

    def _space(self, request: Request) -> str:
        """The search space that a request is for: of a kernel, the campaign's."""
        if not is_kernel(request) or request.campaign is None:
            return request.network.space
        if request.campaign not in self._spaces:
            self._spaces[request.campaign] = self._store.campaign(request.campaign).plan.space
        return self._spaces[request.campaign]

    def _decide(self, wanted: Mapping[str, Sequence[Request]]) -> _Step:
        """What can start now."""
        ready: dict[str, list[Ready]] = defaultdict(list)
        missing: dict[str, BuildJob] = {}
        incomplete: dict[str, set[Manner]] = defaultdict(set)
        failed = []
        for request in self._next(wanted):
            try:
                found = self._builds.of(request, self._executor.facts[request.device])
            except BuildError as e:
                failed.append((request, e))
                continue
            if not isinstance(found, BuildJob):
                ready[request.device].append((request, found))
                continue
            incomplete[request.device].add(manner(request))
            if found.build_key not in self._building:
                missing[found.build_key] = found
        for device, own in ready.items():
            if device in incomplete or device in self._deciding:
                alike = self._deciding.get(device)
                ready[device] = without_small_groups(own, incomplete[device], alike)
        starts = next_starts(
            devices=self._places,
            ready={d: len(own) for d, own in ready.items() if d not in self.measuring},
            builds=len(missing),
            slots=self._executor.slots,
            running=self._running(),
            incumbents=self._incumbents,
        )
        return _Step(
            measure={
                device: in_one_session(
                    ready[device], self._causes.returning(device), self._causes.strikes
                )
                for device in starts.devices
            },
            build=tuple(zip(starts.slots, missing.values(), strict=False)),
            failed=tuple(failed),
        )

    def _carry_out(self, step: _Step) -> None:
        for request, error in step.failed:
            self.outcomes.fail_to_build(request, error)
        starts = [self._works[device] for device in step.measure]
        self._turns.want([*starts, *(Running(slot) for slot, _ in step.build), *self._running()])
        for device, ready in step.measure.items():
            if self._turns.has(self._works[device]):
                self._measure(device, ready)
        for slot, job in step.build:
            if self._turns.has(Running(slot)):
                self._building[job.build_key] = (job, slot)
                self._executor.build(job, slot)

    def work(self) -> bool:
        """Wait until something ends, but not for long, and store what came of it; whether it did.

        A device may be measuring on the core that we wait on: waiting does nothing else.
        """
        if self._resting and self._turns.awaited:
            self._turns.wait()
            return True
        if self._resting and (pause_s := self._pause_s) is not None:
            time.sleep(min(POLL_S, pause_s))
            return self._pause_s == 0
        all_ended = self._executor.wait(POLL_S)
        for ended in all_ended:
            if isinstance(ended, Built):
                self._collect_build(ended)
            elif isinstance(ended, Decided):
                del self._deciding[ended.question.device]
                self._stir([ended.question.device])
                self._decided.append(ended)
            else:
                self._collect_measurement(ended)
        return bool(all_ended) or self._turns.awaited

    def _wanted(self) -> dict[str, list[Request]]:
        """By device, the requests without an outcome that are not being measured. A device for
        which nothing can start meanwhile is left out: there may be a thousand of these."""
        self._look_up()
        facts = self._executor.facts
        return {
            device: self._wanted_on(device)
            for device in self._specs
            if device in self._open
            and (facts[device].target is not None or not self._occupied(device))
        }

    def _occupied(self, device: str) -> bool:
        """Whether it measures, or waits for a decision on more of what is too few to measure."""
        if device in self.measuring:
            return True
        waits = self._deciding.get(device, False) and not self.outcomes.again
        return waits and len(self._pending(device)) < GROUP

    def _wanted_on(self, device: str) -> list[Request]:
        wanted = [*self._pending(device)]
        wanted += [one for one in self.outcomes.again.values() if one.device == device]
        return self._at_rest(device, wanted)

    def _at_rest(self, device: str, requests: Sequence[Request]) -> list[Request]:
        """Those that are not being measured."""
        busy = {request.id for request in self.measuring.get(device, ())}
        return [request for request in requests if request.id not in busy]

    def _waiting(self, device: str, wanted: Sequence[Request]) -> list[Request]:
        """What of it could be measured next, with the control networks first."""
        controls = self._monitor.waiting(device)
        if not (controls or wanted) or self._causes.away(device):
            return []
        controls = self._at_rest(device, controls)
        return controls if self.quarantined(device) else [*controls, *wanted]

    def _next(self, wanted: Mapping[str, Sequence[Request]]) -> list[Request]:
        """The oldest waiting requests of each device; of all devices, the oldest first."""
        each = (next_of(self._waiting(device, own)) for device, own in wanted.items())
        return sorted(chain.from_iterable(each), key=urgency)

    def _running(self) -> list[Running]:
        """What goes on, without devices that use no core of the farm's."""
        builds = [Running(slot) for _, slot in self._building.values()]
        if self._deciding:
            builds.append(Running(self._executor.decides_at))
        return builds + [self._works[device] for device in self.measuring.keys() & self._on_cores]

    def _measure(self, device: str, ready: Sequence[Ready]) -> None:
        for request, artifact in ready:
            if artifact is not None and request.campaign and not is_kernel(request):
                self._store.use_build(request.campaign, artifact.build_key)
        requests, artifacts = zip(*ready, strict=True)
        self.measuring[device] = list(requests)
        self._incumbents[self._places[device].host] = device
        baselines = self._store.baselines(device)
        spec = requests[0].spec(self._specs[device])
        job = MeasureJob(device, spec, requests, artifacts, baselines)
        self._executor.measure(job)

    def _collect_measurement(self, ended: Measured) -> None:
        if ended.facts is not None:
            self._monitor.see(ended.facts)
        pairs = list(zip(ended.job.requests, ended.outcomes, strict=True))
        lost = self._causes.note(ended.job.device, pairs)
        self.outcomes.record(pairs)
        if lost:
            self._monitor.lose(ended.job.device)
        del self.measuring[ended.job.device]
        self._stir([ended.job.device])
        self._turns.end(self._works[ended.job.device])

    def _collect_build(self, ended: Built) -> None:
        """A build that failed is the end of every request that waits for it."""
        job, slot = self._building.pop(ended.job.build_key)
        self._turns.end(Running(slot))
        waiting = [
            request
            for device, wanted in self._wanted().items()
            for request in self._waiting(device, wanted)
            if self._builds.needs(request, job)
        ]
        if isinstance(ended.outcome, CompilerLost):
            if not self._causes.compiler_lost(job.build_key, ended.outcome.killed):
                return  # it is built again
            ended = Built(job, BuildError(f"{ended.outcome}; so it was each time"))
        else:
            self._causes.compiler_works()
        if isinstance(ended.outcome, BuildError):
            for request in waiting:
                self.outcomes.fail_to_build(request, ended.outcome)
        elif waiting and job.network.space != KERNEL:
            campaign = next((r.campaign for r in waiting if r.campaign is not None), None)
            self._store.add_build(campaign, job.network, job.target, ended.outcome)
