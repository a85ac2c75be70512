"""A search's laboratory on the farm: a campaign whose networks the search chooses."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from farm.campaign import known
from farm.campaign.dispatch import Dispatcher
from farm.compile.artifacts import ArtifactStore
from farm.core.errors import FarmError
from farm.core.values import Network
from farm.execution.protocol import Executor
from farm.inventory.config import FarmConfig
from farm.measurement.record import Measurement
from farm.prediction.central import CentralPredictor, DeviceModel
from farm.search.beliefs import Beliefs, OnDevice
from farm.spaces.base import SearchSpace
from farm.store import Holding, Request
from predictors import FloatArray, IntArray, Posterior
from predictors.acquisition import Pool, variance


@dataclass(frozen=True)
class Step:
    """How far a search is. measured: networks that it measured, of `budget` at most; under_way:
    others that it asked for. chosen, missed: see `farm.search.rounds.Round`, of the last round.
    left_s: None while it cannot be known.

    events: what a person should know that happened since the step before.
    """

    campaign: str
    measured: int
    budget: int
    chosen: int = 0
    missed: float | None = None
    under_way: int = 0
    left_s: float | None = None
    events: tuple[str, ...] = ()


Watch = Callable[[Step], None]


class Measuring:
    """Measures networks on the devices of a stored campaign, round by round."""

    def __init__(
        self,
        campaign: str,
        holding: Holding,
        config: FarmConfig,
        executor: Executor,
        artifacts: ArtifactStore,
    ) -> None:
        self.campaign = campaign
        self.store = store = holding.store
        self.plan = store.campaign(campaign).plan
        self.predictor = CentralPredictor.of(store, config)
        policies = {device.name: device.controls for device in config.devices.values()}
        specs = self.plan.spec_of
        self._work = Dispatcher(holding, executor, artifacts, specs, self._pending, policies)

    def _pending(self, device: str) -> Collection[Request]:
        return self.store.pending_by_device(self.campaign).get(device, {}).values()

    def measure(self, networks: Sequence[Network], told: Callable[[], None]) -> None:
        """Measure what is not known yet, on all devices. Raises FarmError where a device is in
        quarantine or does not come back, or the campaign is cancelled."""
        self.store.add_requests(self.campaign, networks, self.plan.devices, "learn")
        for device, spec in self.plan.spec_of.items():
            found = known.observed(self.store, self.plan.space, device, spec)
            known.reuse(self.store, self.campaign, device, spec, found)
        self.finish(told)

    def finish(self, told: Callable[[], None]) -> None:
        """Wait for all that was asked for."""
        self._work.start()
        while pending := self.store.pending(self.campaign):
            self._may_go_on(pending)
            self._work.work()
            self._work.start()
            told()

    def close(self) -> None:
        """Show that the devices stayed what they were."""
        self._work.close()
        while not self._work.idle:
            self._work.work()
            self._work.start()

    def take_events(self) -> tuple[str, ...]:
        return tuple(self._work.take_events())

    def asked(self) -> list[Network]:
        """Networks that the campaign asked for, in order."""
        return list(dict.fromkeys(r.network for r in self.store.requests(self.campaign, "learn")))

    def measured(self) -> list[Mapping[Network, Measurement]]:
        """What is known of networks of the space, on each device."""
        space = self.plan.space
        columns = [self.predictor.measured(space, device) for device in self.plan.devices]
        return [dict(zip(c.networks, c.measurements, strict=True)) for c in columns]

    def _may_go_on(self, pending: Sequence[Request]) -> None:
        goes_on = "the same `farm search` goes on with it"
        if self.store.is_cancelled(self.campaign):
            raise FarmError(f"{self.campaign} was cancelled; {goes_on}")
        barred = sorted({r.device for r in pending if self._work.quarantined(r.device)})
        gone = sorted({r.device for r in pending if self._work.given_up(r.device)})
        if any(r.device not in {*barred, *gone} for r in pending):
            return
        if not barred:
            raise FarmError(f"{', '.join(gone)} did not come back; {goes_on} ({self.campaign})")
        quarantine = self.store.quarantined(barred[0])
        reason = f": {quarantine.reason}" if quarantine else ""
        raise FarmError(
            f"{barred[0]} is in quarantine{reason}; `farm device release {barred[0]}` trusts "
            f"it again, then {goes_on} ({self.campaign})"
        )


class Models:
    """What is believed of networks of the space on each device, as the store is now."""

    def __init__(self, measuring: Measuring, searched: SearchSpace) -> None:
        about = measuring.predictor.whole(searched)
        each = measuring.plan.devices
        self.each = [measuring.predictor.model(about, device) for device in each]

    def of(self, networks: Sequence[Network]) -> Beliefs:
        return Beliefs([_on(model, networks) for model in self.each], len(networks))

    @property
    def learnt(self) -> dict[str, int]:
        """Networks that each device is known by."""
        return {model.device: len(model.seen) for model in self.each}

    def telling(self, networks: Sequence[Network], taken: IntArray, n: int, seed: int) -> IntArray:
        """Rows of networks that tell most about the others on the device that least is known of."""
        model = min(self.each, key=lambda one: len(one.seen))
        pool = Pool(_features(model, networks), seed)
        return variance(pool, taken, n, prior=model.belief)


def _on(model: DeviceModel, networks: Sequence[Network]) -> OnDevice:
    features = _features(model, networks)

    def posterior(rows: IntArray, joint: bool) -> Posterior:
        return model.fitted.posterior(features[rows], model.device, joint)

    return posterior


def _features(model: DeviceModel, networks: Sequence[Network]) -> FloatArray:
    assert model.encode is not None  # without kernel times
    return model.encode(networks)


class Left:
    """The seconds that a search may take yet, by how long its networks took so far.

    budget: networks at most; before: of them, those that an earlier run measured.
    """

    def __init__(self, budget: int, before: int, now_s: float) -> None:
        self._budget = budget
        self._before = self._measured = before
        self._began_s = self._at_s = now_s

    def seconds(self, measured: int, now_s: float) -> float | None:
        """None while it cannot be known. now_s: of a clock that only grows."""
        if measured > self._measured:
            self._measured, self._at_s = measured, now_s
        done = self._measured - self._before
        if not done:
            return None
        # Between two networks it counts down.
        each_s = (self._at_s - self._began_s) / done
        left_s = each_s * (self._budget - self._measured) - (now_s - self._at_s)
        return left_s if left_s > 0 else None


class FarmLaboratory:
    """A `farm.search.rounds.Laboratory` of some candidates."""

    def __init__(
        self,
        measuring: Measuring,
        searched: SearchSpace,
        candidates: Sequence[Network],
        watch: Watch,
    ) -> None:
        self._measuring = measuring
        self._searched = searched
        self.candidates = candidates
        self._row = {network: row for row, network in enumerate(candidates)}
        self._watch = watch
        self._left = Left(measuring.plan.budget, len(measuring.asked()), time.monotonic())
        self.last = Step(measuring.campaign, 0, measuring.plan.budget)

    def measured(self) -> tuple[IntArray, FloatArray]:
        each = self._measuring.measured()
        rows = [
            row for network, row in self._row.items() if all(network in found for found in each)
        ]
        latency_s = [[found[self.candidates[r]].latency_s for r in rows] for found in each]
        return np.array(rows, np.intp), np.array(latency_s).reshape(len(each), len(rows))

    def asked(self) -> IntArray:
        rows = [self._row[n] for n in self._measuring.asked() if n in self._row]
        return np.array(rows, np.intp)

    def belief(self) -> Beliefs:
        return Models(self._measuring, self._searched).of(self.candidates)

    def telling(self, n: int) -> IntArray:
        models = Models(self._measuring, self._searched)
        taken = np.union1d(self.measured()[0], self.asked())
        return models.telling(self.candidates, taken, n, self._measuring.plan.seed)

    def measure(self, rows: IntArray) -> None:
        self._measuring.measure([self.candidates[row] for row in rows], self.tell)

    def say(self, event: str) -> None:
        """Say what a person should know."""
        self._watch(replace(self.last, events=(event,)))

    def tell(self, chosen: int | None = None, missed: float | None = None) -> None:
        """Say how far it is."""
        pending = {r.network for r in self._measuring.store.pending(self._measuring.campaign)}
        measured = len(self._measuring.asked()) - len(pending)
        self.last = Step(
            self._measuring.campaign,
            measured,
            self._measuring.plan.budget,
            self.last.chosen if chosen is None else chosen,
            self.last.missed if missed is None else missed,
            len(pending),
            self._left.seconds(measured, time.monotonic()),
            self._measuring.take_events(),
        )
        self._watch(self.last)
