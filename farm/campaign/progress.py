"""What a running campaign shows of itself: counts that never go down, verdicts, and how well it
predicts so far."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from farm.campaign.summary import of_one_world, sums_of
from farm.prediction.evaluation import judge
from farm.spaces.base import SearchSpace
from farm.store import KernelCounts, Plan, Store

MEASURING = "measuring"
KERNELS = "timing kernels"
CHECKING = "checking its control networks"
BARRED = "in quarantine"
DONE = "done"
BUILDS = "waiting for builds"
WAITING = "waiting"
"""What a device does: one of these."""

_SHARE = 0.05
"""Of a campaign's time, the most that goes into its learning curve: devices idle meanwhile."""

_FEWEST = 3
"""Networks to learn from, and to judge by, without which nothing is said."""


@dataclass(frozen=True)
class Learnt:
    """A point of a learning curve: what is predicted of the holdout after so many training
    networks. error_median: relative. Both are None where they cannot be said."""

    networks: int
    error_median: float | None
    spearman: float | None


@dataclass(frozen=True)
class DeviceProgress:
    """How far a device is.

    doing: see `WAITING` and those before it; group: how many networks it measures just now.
    ended: the most requests that had their outcome at a time, so that it never goes down.
    again: how many of those are measured again, and have not ended again.
    verdicts: of its measurements that count, as of a moment ago.
    kernels: asked for before the networks, and how many have ended; None for none.
    rate_per_min: outcomes a minute in this run. left_s: None while it cannot be known.
    """

    doing: str
    ended: int
    wanted: int
    group: int = 0
    failed: int = 0
    again: int = 0
    verdicts: Mapping[str, int] | None = None
    rate_per_min: float | None = None
    left_s: float | None = None
    kernels: KernelCounts | None = None
    curve: tuple[Learnt, ...] = ()


@dataclass(frozen=True)
class Progress:
    """What a campaign is doing. left_s: None while it cannot be known.

    events: what a person should know that happened since the progress before, a sentence each.
    """

    campaign: str
    devices: Mapping[str, DeviceProgress]
    building: int
    elapsed_s: float
    left_s: float | None
    events: tuple[str, ...] = ()


class Counts:
    """Counts of a device's outcomes that never go down within a run."""

    def __init__(self, began: int) -> None:
        """began: how many there were when the run began."""
        self._began = began
        self._most = began

    def of(
        self, doing: str, measured: int, failed: int, wanted: int, elapsed_s: float
    ) -> DeviceProgress:
        """The progress of a device that has so many outcomes in the store now."""
        now = measured + failed
        self._most = max(self._most, now)
        rate = (self._most - self._began) / elapsed_s if elapsed_s > 0 else 0.0
        return DeviceProgress(
            doing=doing,
            ended=self._most,
            wanted=max(wanted, self._most),
            failed=failed,
            again=self._most - now,
            rate_per_min=60 * rate or None,
            left_s=max(0, wanted - now) / rate if rate else None,
        )


class Evidence:
    """Verdicts and learning curves so far, read from the store now and then.

    clock: seconds that only grow.
    """

    def __init__(
        self,
        store: Store,
        campaign: str,
        plan: Plan,
        space: SearchSpace,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._campaign = campaign
        self._plan = plan
        self._space = space
        self._clock = clock
        self._looks = 0
        self._ended = -1
        self._next_s = 0.0
        self.verdicts: dict[str, Counter[str]] = {device: Counter() for device in plan.devices}
        self.curves: dict[str, tuple[Learnt, ...]] = dict.fromkeys(plan.devices, ())

    def look(self, ended: int) -> None:
        """Bring it up to date, if something new has ended and enough time has passed.

        ended: a number that grows with each outcome.
        """
        began_s = self._clock()
        if ended in (0, self._ended) or began_s < self._next_s:
            return
        self._ended = ended
        self._read()
        self._looks += 1
        if self._looks > 1:  # the first one pays for imports
            self._next_s = self._clock() + (self._clock() - began_s) / _SHARE

    def _read(self) -> None:
        learnt = self._store.measurements(campaign=self._campaign, purpose="learn")
        heldout = self._store.measurements(campaign=self._campaign, purpose="holdout")
        both = [*learnt, *heldout]
        for device in self._plan.devices:
            self.verdicts[device] = Counter(m.verdict for m in both if m.device == device)
        learnt, heldout = of_one_world(self._store, learnt, heldout)
        known = Counter(m.device for m in learnt)
        judged = Counter(m.device for m in heldout)
        timed = self._store.kernel_counts(self._campaign)
        enough = [
            d
            for d in self._plan.devices
            if judged[d] >= _FEWEST and (known[d] >= _FEWEST or d in timed)
        ]
        if enough:
            sums = sums_of(self._store, self._plan)
            judgements = judge(self._plan, self._space, learnt, heldout, sums)
            for device in enough:
                found = judgements[device]
                point = Learnt(known[device], found.error_median, found.spearman)
                self.curves[device] = _with(self.curves[device], point)


def _with(curve: tuple[Learnt, ...], point: Learnt) -> tuple[Learnt, ...]:
    """The curve with a newer point; one of fewer networks than before is no news."""
    if curve and point.networks < curve[-1].networks:
        return curve
    return (*(one for one in curve if one.networks != point.networks), point)
