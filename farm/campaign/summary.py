"""What a campaign came to, as plain data: the object that `--json` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from farm.core.values import Network
from farm.inventory.config import FarmConfig
from farm.measurement.record import Failure, Measurement
from farm.measurement.verdict import NOT_LEFT_ALONE, RULES, VERDICTS
from farm.prediction.central import CentralPredictor, DeviceModel
from farm.prediction.evaluation import Judgement, Sums, judgement
from farm.prediction.selection import Candidates
from farm.spaces import space
from farm.store import KernelCounts, Lease, Plan, Request, Store, StoredCampaign

if TYPE_CHECKING:
    from farm.prediction.kernel_times import KernelSum

TRUSTED = tuple(verdict for verdict in VERDICTS if verdict not in NOT_LEFT_ALONE)
"""Verdicts of latencies that are known to the interval that is told with them."""


@dataclass(frozen=True)
class Summary:
    """counts: measured and failed, by device; verdicts: how many measurements have each.

    older_rules: how many of them were judged by other rules than today's (`verdict.RULES`).
    again: results that another measurement replaced, or that replaced none, by device, and the
        device seconds that these took.
    learnt: networks that were asked for to learn from, and measured, by device. reused: of all
        networks, those that were known before, by device.
    held: the lease that a process has on a device now.
    """

    campaign: StoredCampaign
    built: int
    cached: int
    counts: Mapping[str, tuple[int, int]]
    verdicts: Mapping[str, Mapping[str, int]]
    older_rules: Mapping[str, int]
    again: Mapping[str, tuple[int, float]]
    judgements: Mapping[str, Judgement]
    kernels: Mapping[str, KernelCounts]
    failures: tuple[tuple[Request, Failure], ...]
    quarantined: Mapping[str, str]
    lost: Mapping[str, str]
    learnt: Mapping[str, int] = field(default_factory=dict)
    reused: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, Lease] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """Whether every request has its outcome, and no device failed with all of them."""
        hopeless = any(failed and not measured for measured, failed in self.counts.values())
        return self.campaign.state == "done" and not hopeless

    @property
    def trusted(self) -> int:
        """How many latencies hold with the interval that is told with them."""
        each = [counts.get(verdict, 0) for counts in self.verdicts.values() for verdict in TRUSTED]
        return sum(each)

    def to_json(self) -> dict[str, Any]:
        """The keys that a program can rely on. A figure that cannot be said is null."""
        stored = self.campaign
        return {
            "campaign": stored.id,
            "state": stored.state,
            "run_by": stored.run_by and stored.run_by.to_json(),
            "space": stored.plan.space,
            "requested": stored.requested,
            "measured": stored.measured,
            "failed": stored.failed,
            "trusted": self.trusted,
            "built": self.built,
            "cached": self.cached,
            "wall_s": stored.wall_s,
            "devices": {device: self._device(device) for device in stored.plan.devices},
            "quarantined": dict(self.quarantined),
            "lost": dict(self.lost),
            "failures": [
                {"network": r.network.id, "device": r.device, "kind": f.kind, "message": f.message}
                for r, f in self.failures
            ],
        }

    def busy_fraction(self, device: str) -> float | None:
        """Share of the campaign's time in which the device measured."""
        wall_s = self.campaign.wall_s
        return min(1.0, self.campaign.busy_s.get(device, 0.0) / wall_s) if wall_s else None

    def _device(self, device: str) -> dict[str, Any]:
        measured, failed = self.counts[device]
        judgement = self.judgements[device]
        held = self.held.get(device)
        return {
            "measured": measured,
            "failed": failed,
            "verdicts": dict(self.verdicts[device]),
            "older_rules": self.older_rules[device],
            "learnt": self.learnt.get(device, 0),
            "reused": self.reused.get(device, 0),
            "stopped": self.campaign.stops.get(device),
            "measured_again": self.again[device][0],
            "again_device_s": self.again[device][1],
            "spearman": judgement.spearman,
            "kendall": judgement.kendall,
            "error_median": judgement.error_median,
            "within_5": judgement.within(0.05),
            "within_10": judgement.within(0.10),
            "coverage_95": judgement.coverage,
            "heldout": len(judgement.predictions),
            "predictions": [p.to_json() for p in judgement.predictions],
            **self._kernels(device),
            "device_s": self.campaign.busy_s.get(device, 0.0),
            "busy_fraction": self.busy_fraction(device),
            "held_by": held and held.to_json(),
        }

    def _kernels(self, device: str) -> dict[str, Any]:
        found = self.kernels.get(device, KernelCounts(0, 0, 0, 0.0))
        return {
            "kernels": found.measured,
            "kernels_failed": found.failed,
            "kernels_device_s": found.device_s,
        }


def sums_of(store: Store, plan: Plan) -> Sums | None:
    """The sums of kernel times that a plan's networks are predicted by; None for one that asks for
    no kernels."""
    if not plan.kernels:
        return None
    batches = {device: spec.batch for device, spec in plan.spec_of.items()}

    def found(device: str, networks: Sequence[Network]) -> KernelSum | None:
        from farm.prediction.kernel_times import kernel_sums

        return kernel_sums(store, device, networks, batches[device])

    return found


def summarise(store: Store, name: str, config: FarmConfig | None = None) -> Summary:
    """Read a campaign, fit the predictor to what was known at its end, and judge it by the holdout.

    config: names the published tables that it learns from, too. Raises UnknownName.
    """
    stored = store.campaign(name)
    about = Candidates.of(stored.plan, space(stored.plan.space, store.models))
    seen = seen_on(store, stored, about)
    predictor = CentralPredictor.of(store, config, store.last_of(stored.id))
    built, cached = store.builds(stored.id)
    return Summary(
        campaign=stored,
        built=built,
        cached=cached,
        counts=store.counts(stored.id),
        verdicts={device: one.verdicts for device, one in seen.items()},
        older_rules={device: one.older_rules for device, one in seen.items()},
        again={device: store.measured_again(stored.id, device) for device in stored.plan.devices},
        judgements={
            model.device: judgement(model, seen[model.device].heldout)
            for model in models(predictor, stored.plan, about, seen)
        },
        learnt={device: one.learnt for device, one in seen.items()},
        reused=store.reused(stored.id),
        kernels=store.kernel_counts(stored.id),
        failures=tuple(store.failures(stored.id)),
        lost=store.lost(stored.plan.devices),
        quarantined={
            device: quarantine.reason
            for device in stored.plan.devices
            if (quarantine := store.quarantined(device)) is not None
        },
        held=store.holders_of(stored.plan.devices),
    )


@dataclass
class Seen:
    """What a campaign measured on a device. networks: all of them; heldout: those that only judge,
    as they hold on the device as it was at the last of all."""

    verdicts: Counter[str] = field(default_factory=Counter)
    older_rules: int = 0
    learnt: int = 0
    networks: set[Network] = field(default_factory=set)
    heldout: list[Measurement] = field(default_factory=list)


def seen_on(store: Store, stored: StoredCampaign, about: Candidates) -> dict[str, Seen]:
    """Of each device. Each row is read once, and few are kept: a row has thousands of samples."""
    judging = set(about.holdout)
    found = {device: Seen() for device in stored.plan.devices}
    last: dict[str, Measurement] = {}
    for request, m in store.each_measured(stored.id):
        one = found[m.device]
        one.verdicts[m.verdict] += 1
        one.older_rules += m.rules != RULES
        one.learnt += request.purpose == "learn"
        one.networks.add(m.network)
        one.heldout += [m] if m.network in judging else []
        last[m.device] = m
    for device, m in last.items():
        held = store.holding(found[device].heldout, {device: m.fingerprint})
        found[device].heldout = [one for one in held if one is not None]
    return found


def models(
    predictor: CentralPredictor, plan: Plan, about: Candidates, seen: Mapping[str, Seen]
) -> Iterator[DeviceModel]:
    """What a predictor believes of each device of a campaign, and of the networks that only
    judge."""
    for device, spec in plan.spec_of.items():
        judging = [m.network for m in seen[device].heldout]
        only = seen[device].networks if plan.fresh else None
        yield predictor.model(about, device, spec.batch if plan.kernels else None, judging, only)
