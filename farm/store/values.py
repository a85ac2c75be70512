"""What the store keeps of a campaign."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from farm.core.checks import must_be_finite
from farm.core.values import KERNEL, Network
from farm.measurement.spec import MeasureSpec
from farm.store.lease import Lease


@dataclass(frozen=True)
class Plan:
    """What a campaign was asked to do. It does not change once the campaign exists.

    budget: networks to learn from, measured on each device.
    holdout: networks measured on each device only to judge the predictor by.
    select: `active` (posterior variance) or `random`.
    device_seconds: the campaign chooses nothing more once its devices were busy for so long.
    specs: how each device measures.
    networks: the codes to choose among; None where the space alone says that.
    kernels: so many kernels at most are timed on each device before its networks.
    target_rho, max_error, decide: a goal at which a device stops before its budget is spent: a rank
        correlation; a median error, relative; a decision such as `latency<20ms` for every
        candidate. At most one.
    fresh: whether what is known already is measured anew.
    coarser: whether networks to learn from may be measured less precisely than `specs` say, where
        that teaches more for each device second.
    search: what a search is asked for (`farm.search`), which chooses the networks then; JSON.
    deadline: when it is to be done, UTC in ISO 8601: it comes before later ones where devices are
        waited for.
    """

    space: str
    devices: tuple[str, ...]
    budget: int
    holdout: int
    seed: int
    specs: tuple[MeasureSpec, ...]
    select: str = "active"
    device_seconds: float | None = None
    networks: tuple[str, ...] | None = None
    kernels: int = 0
    target_rho: float | None = None
    max_error: float | None = None
    decide: str | None = None
    fresh: bool = False
    coarser: bool = False
    search: str | None = None
    deadline: str | None = None

    @property
    def spec_of(self) -> dict[str, MeasureSpec]:
        """How each device measures, by its name."""
        return dict(zip(self.devices, self.specs, strict=True))

    @property
    def has_goal(self) -> bool:
        """Whether a device may stop before its budget is spent."""
        return any(goal is not None for goal in (self.target_rho, self.max_error, self.decide))

    def exhausted(self, device_s: float) -> bool:
        """Whether its device seconds are spent once devices were busy for so long."""
        return self.device_seconds is not None and device_s >= self.device_seconds

    @classmethod
    def from_json(cls, text: str) -> Plan:
        value = json.loads(text)
        specs = tuple(MeasureSpec(**spec) for spec in value["specs"])
        # Plans from before there were ONNX files have no networks.
        networks = tuple(value["networks"]) if value.get("networks") else None
        devices = tuple(value["devices"])
        return cls(**{**value, "devices": devices, "specs": specs, "networks": networks})


@dataclass(frozen=True)
class StoredCampaign:
    """A campaign as its rows tell it.

    wall_s: summed over its runs (each launch or resume).
    busy_s: for each device that measured, how long it was busy.
    stops: why nothing more was asked of a device, though its budget was not spent.
    ended: outcomes of each device.
    run_by: the lease of the process that runs it now.
    """

    id: str
    plan: Plan
    created_at: str
    cancelled: bool
    requested: int
    measured: int
    failed: int
    wall_s: float
    busy_s: Mapping[str, float]
    stops: Mapping[str, str] = field(default_factory=dict)
    ended: Mapping[str, int] = field(default_factory=dict)
    run_by: Lease | None = None

    @property
    def wanted(self) -> int:
        """Outcomes that are asked for in the end, as far as that is known."""
        each = self.plan.budget + self.plan.holdout
        return sum(
            self.ended.get(device, 0) if device in self.stops else each
            for device in self.plan.devices
        )

    @property
    def complete(self) -> bool:
        """Whether nothing more is to be asked for."""
        each = self.plan.budget + self.plan.holdout
        return self.exhausted or all(
            device in self.stops or self.ended.get(device, 0) >= each
            for device in self.plan.devices
        )

    @property
    def exhausted(self) -> bool:
        """Whether the plan's device seconds are spent."""
        return self.plan.exhausted(sum(self.busy_s.values()))

    @property
    def state(self) -> str:
        """`cancelled`, `done` or `unfinished`."""
        if self.cancelled:
            return "cancelled"
        ended = self.measured + self.failed
        return "done" if ended == self.requested and self.complete else "unfinished"

    def to_json(self) -> dict[str, Any]:
        """What a list of campaigns says of it."""
        keys = ("id", "state", "created_at", "requested", "wanted", "measured", "failed", "wall_s")
        return {
            **{key: getattr(self, key) for key in keys},
            "space": self.plan.space,
            "devices": list(self.plan.devices),
            "budget": self.plan.budget,
            "run_by": self.run_by and self.run_by.to_json(),
        }


@dataclass(frozen=True)
class Request:
    """A measurement that is wanted. `campaign` is None for a query's.

    half_width: that it is wanted to, relative; None for what the device's spec says.
    """

    id: int
    campaign: str | None
    network: Network
    device: str
    purpose: str
    half_width: float | None = None

    def spec(self, of_device: MeasureSpec) -> MeasureSpec:
        """How it is measured on a device that measures so."""
        if self.network.space == KERNEL:
            return of_device.of_kernels()
        return of_device if self.half_width is None else of_device.at_precision(self.half_width)


@dataclass(frozen=True)
class Choice:
    """A network that a campaign chose to learn from, and why.

    why: a sentence for a person; None where the order of the seed chose. half_width: see `Request`.
    """

    network: Network
    device: str
    why: str | None
    half_width: float | None


@dataclass(frozen=True)
class KernelCounts:
    """Kernels that a campaign asked a device for, and for how long it was busy with them."""

    asked: int
    measured: int
    failed: int
    device_s: float


@dataclass(frozen=True)
class News:
    """How far a device has come, so that whoever knows its measurements can tell what is new.

    added: the id of its last measurement. dropped: how often one was invalidated. told: how often
    something changed that decides how all are told: its revision, a baseline.
    """

    added: int = 0
    dropped: int = 0
    told: int = 0


@dataclass(frozen=True)
class Stretch:
    """A part of a control chart with a level of its own, under one fingerprint.

    after: the last measurement before it. shift: of the control networks from the level before,
    as a logarithm of latencies. began_at: when it was noticed.
    """

    device: str
    fingerprint: str
    after: int
    shift: float
    reason: str
    began_at: str = ""


@dataclass(frozen=True)
class ControlRound:
    """Control networks that were measured together, with everything that is needed to judge a
    device.

    at: when they were measured. last_id: of the last measurement among them.
    latency_s: by network id and build key; what is built otherwise is another control network.
    invalidated: why they no longer count, if so.
    """

    at: str
    last_id: int
    fingerprint: str
    latency_s: Mapping[tuple[str, str | None], float]
    invalidated: str | None = None


@dataclass(frozen=True)
class Quarantine:
    """A time in which a device was not trusted. manual: by a person's word.

    released_at: None while it lasts.
    """

    device: str
    at: str
    reason: str
    manual: bool
    released_at: str | None = None


@dataclass(frozen=True)
class Revision:
    """What was decided of a fingerprint of a device.

    base: the fingerprint whose results hold under it, too: its own where no older ones do.
    decision: `first`, `same`, `rebased` or `invalidated`; of what was before it.
    factor: how many times as slow as under `base` the device is.
    """

    fingerprint: str
    device: str
    base: str
    decision: str
    factor: float
    reason: str
    decided_at: str = ""

    def __post_init__(self) -> None:
        must_be_finite("factor", (self.factor,), above=0)


def factor(revisions: Mapping[str, Revision], measured: str, now: str | None) -> float | None:
    """What a latency under one fingerprint is to be multiplied by to hold under another.

    revisions: of the device, by fingerprint. None where it does not hold.
    """
    if measured == now:
        return 1.0
    then, current = revisions.get(measured), revisions.get(now or "")
    if then is None or current is None or then.base != current.base:
        return None
    return current.factor / then.factor
