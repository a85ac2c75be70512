"""What a running campaign shows of itself: counts that never go down, verdicts, and how well it
predicts so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from farm.prediction.decisions import Decision, Learnt
from farm.store import KernelCounts, Store

MEASURING = "measuring"
KERNELS = "timing kernels"
CHECKING = "checking its control networks"
BARRED = "in quarantine"
LOST = "lost, tried again"
DONE = "done"
BUILDS = "waiting for builds"
WAITING = "waiting"
"""What a device does: one of these."""


@dataclass(frozen=True)
class DeviceProgress:
    """How far a device is.

    doing: see `WAITING` and those before it; group: how many networks it measures just now.
    ended: the most requests that had their outcome at a time, so that it never goes down.
    again: how many of those are measured again, and have not ended again.
    verdicts: of its measurements that count, as of a moment ago.
    kernels: asked for before the networks, and how many have ended; None for none.
    decision: what was decided for it last.
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
    decision: Decision | None = None


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
    """Verdicts so far, and learning curves, which grow with each decision."""

    def __init__(self, store: Store, campaign: str, devices: Sequence[str]) -> None:
        self._store = store
        self._campaign = campaign
        self._seen = dict.fromkeys(devices, 0)
        self.verdicts: dict[str, Counter[str]] = {device: Counter() for device in devices}
        self.curves: dict[str, tuple[Learnt, ...]] = dict.fromkeys(devices, ())

    def look(self, device: str, ended: int) -> None:
        """Read a device's verdicts, if something has ended since. ended: a number that grows with
        each outcome."""
        if ended != self._seen[device]:
            self._seen[device] = ended
            self.verdicts[device] = Counter(self._store.verdicts(self._campaign, device))

    def learn(self, device: str, point: Learnt) -> None:
        """A point of a device's learning curve, if it says anything."""
        if point.error_median is not None:
            self.curves[device] = _with(self.curves[device], point)


def _with(curve: tuple[Learnt, ...], point: Learnt) -> tuple[Learnt, ...]:
    """The curve with a newer point; one of fewer networks than before is no news."""
    if curve and point.networks < curve[-1].networks:
        return curve
    return (*(one for one in curve if one.networks != point.networks), point)
