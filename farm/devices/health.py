"""Whether a device can be trusted, as the store tells it: what `farm device show` shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from farm.core.values import DeviceFacts
from farm.devices import controls
from farm.devices.control_chart import LEVEL_ROUNDS, Latencies, control_chart, shift_of
from farm.measurement.drift_correction import Baseline
from farm.measurement.spec import MeasureSpec
from farm.store import ControlRound, Quarantine, Revision, Store, Stretch

_SHOWN = 60
"""The last rounds of control networks."""


@dataclass(frozen=True)
class Shown:
    """A round of control networks. shift: mean log-ratio to their levels; None where they begin
    them.

    ewma, limit: of the control chart; None for a round that no longer counts.
    """

    at: str
    shift: float | None
    ewma: float | None
    limit: float | None
    invalidated: str | None


@dataclass(frozen=True)
class Health:
    """quarantine: the present one. revisions: oldest first. certificate: the newest, as it is
    stored. stretches: in which it was another one. baseline_rounds: how many the baseline is made
    of; it is fixed at `BASELINE_ROUNDS`. rounds: of control networks, oldest first, as the device
    is and measures now."""

    quarantine: Quarantine | None
    revisions: tuple[Revision, ...]
    certificate: dict[str, Any] | None
    stretches: tuple[Stretch, ...]
    baseline_rounds: int
    rounds: tuple[Shown, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "quarantine": None if self.quarantine is None else asdict(self.quarantine),
            "revisions": [asdict(revision) for revision in self.revisions],
            "certificate": self.certificate,
            "stretches": [asdict(stretch) for stretch in self.stretches],
            "baseline_rounds": self.baseline_rounds,
            "controls": [asdict(one) for one in self.rounds],
        }


def health(store: Store, facts: DeviceFacts, spec: MeasureSpec, tolerated: float) -> Health:
    """Read what is known of a device that is as `facts` say."""
    device = facts.device
    stretches = store.stretches(device, facts.fingerprint)
    baseline = store.baselines(device).get(facts.fingerprint, Baseline())
    return Health(
        quarantine=store.quarantined(device),
        revisions=tuple(store.revisions(device)),
        certificate=store.certificate(device),
        stretches=tuple(stretches),
        baseline_rounds=max(map(len, baseline.controls.values()), default=0),
        rounds=_charted(
            store.controls(
                device,
                controls.NETWORKS,
                LEVEL_ROUNDS,
                _SHOWN,
                facts.fingerprint,
                spec,
                invalidated=True,
            ),
            stretches,
            tolerated,
        ),
    )


def _charted(
    rounds: list[ControlRound], stretches: Sequence[Stretch], tolerated: float
) -> tuple[Shown, ...]:
    """Each stretch has a level of its own."""
    ends = [stretch.after for stretch in stretches]
    shown: list[Shown] = []
    earlier: list[Latencies] = []
    for start, end in pairwise([0, *ends, math.inf]):
        own = [one for one in rounds if start < one.last_id <= end]
        shown += _one_stretch(own, tolerated, earlier)
        earlier += [one.latency_s for one in own if one.invalidated is None]
    return tuple(shown)


def _one_stretch(
    rounds: list[ControlRound], tolerated: float, earlier: Sequence[Latencies]
) -> list[Shown]:
    good = [one.latency_s for one in rounds if one.invalidated is None]
    points = iter(control_chart(good, tolerated, earlier).points)
    shown = []
    for one in rounds:
        if one.invalidated is not None:
            shift = shift_of(one.latency_s, good)
            shown.append(Shown(one.at, shift, None, None, one.invalidated))
            continue
        point = next(points)
        limit = None if point.shift is None else point.limit
        shown.append(Shown(one.at, point.shift, point.ewma, limit, None))
    return shown
