"""How well a campaign predicts the networks that only judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from farm.core.values import Network
from farm.measurement.record import Measurement
from farm.prediction.features import Reference, predictor
from farm.prediction.selection import candidates
from farm.spaces.base import SearchSpace
from farm.store import Plan
from predictors import FloatArray, Observations, metrics

if TYPE_CHECKING:
    from farm.prediction.kernel_times import KernelSum
    from predictors.models.kernel_sum import KernelSumGP
    from predictors.models.mixture_gp import MixtureGP

Sums = Callable[[str, Sequence[Network]], "KernelSum | None"]
"""The sums of some networks' kernel times on a device, by its name; None for one without any."""


@dataclass(frozen=True)
class Prediction:
    """A held-out network: what was predicted before looking, with its 95 % interval, and what
    was measured. Seconds."""

    network: Network
    predicted_s: float
    low_s: float
    high_s: float
    measured_s: float


@dataclass(frozen=True)
class Judgement:
    """How well one device is predicted. spearman, kendall: None where they cannot be said."""

    spearman: float | None
    kendall: float | None
    predictions: tuple[Prediction, ...]

    @property
    def error_median(self) -> float | None:
        """The median over networks of how far off the prediction is, relative to the measured
        latency; None for none."""
        errors = [abs(p.predicted_s / p.measured_s - 1) for p in self.predictions]
        return float(np.median(errors)) if errors else None

    def within(self, relative: float) -> float | None:
        """Share of the networks predicted within `relative` of what was measured."""
        predicted_s, measured_s = self._arrays("predicted_s", "measured_s")
        return metrics.within(predicted_s, measured_s, relative)

    @property
    def coverage(self) -> float | None:
        """Share of the measured latencies inside their predicted 95 % interval."""
        low_s, high_s, measured_s = self._arrays("low_s", "high_s", "measured_s")
        return metrics.coverage(low_s, high_s, measured_s)

    def _arrays(self, *names: str) -> list[FloatArray]:
        return [np.array([getattr(p, name) for p in self.predictions]) for name in names]


def judge(
    plan: Plan,
    space: SearchSpace,
    learnt: Sequence[Measurement],
    heldout: Sequence[Measurement],
    sums: Sums | None = None,
) -> Mapping[str, Judgement]:
    """Fit on `learnt` and predict `heldout`, for each device of `plan`.

    sums: of networks' kernel times, by device, where there are any: the device is predicted by
    them then, and by what its own networks add.

    Each device learns from its own measurements, and from those of all others as references; they
    may be of other networks, and of devices that the plan does not name.
    """
    pool = candidates(plan, space)
    networks = list(dict.fromkeys([*pool, *(m.network for m in [*learnt, *heldout])]))
    row = {network: i for i, network in enumerate(networks)}
    by_device = {
        device: _reference([m for m in learnt if m.device == device], row)
        for device in dict.fromkeys([*plan.devices, *(m.device for m in learnt)])
    }
    judgements = {}
    for device in plan.devices:
        by_kernels = sums and _by_kernels(device, space, learnt, heldout, sums)
        if by_kernels:
            judgements[device] = by_kernels
            continue
        others = [
            other
            for name, other in by_device.items()
            if name != device and len(other.rows) >= metrics.FEWEST
        ]
        model = predictor(space, networks, len(pool), others)
        mine = [m for m in heldout if m.device == device]
        judgements[device] = _judge(model, by_device[device], mine, row)
    return judgements


def _by_kernels(
    device: str,
    space: SearchSpace,
    learnt: Sequence[Measurement],
    heldout: Sequence[Measurement],
    sums: Sums,
) -> Judgement | None:
    """None where a sum is not known of all of them."""
    from predictors.models.kernel_sum import KernelSumGP

    mine = [m for m in learnt if m.device == device]
    judged = [m for m in heldout if m.device == device]
    networks = [m.network for m in (*mine, *judged)]
    found = sums(device, networks)
    if found is None or not np.isfinite(found.latency_s).all():
        return None
    model = KernelSumGP.over(found.latency_s, found.uncertainty, space.features(networks))
    rows = {network: i for i, network in enumerate(networks)}
    return _judge(model, _reference(mine, rows), judged, rows)


def _reference(measurements: Sequence[Measurement], row: Mapping[Network, int]) -> Reference:
    rows = np.array([row[m.network] for m in measurements], np.intp)
    return Reference(rows, np.array([m.latency_s for m in measurements]))


def _judge(
    model: MixtureGP | KernelSumGP,
    learnt: Reference,
    heldout: Sequence[Measurement],
    row: Mapping[Network, int],
) -> Judgement:
    """One device, by a model that has the others as references."""
    seen = Observations.of_one("target", model.features[learnt.rows], learnt.latency_s)
    rows = _reference(heldout, row).rows
    posterior = model.fit(seen).posterior(model.features[rows], "target")
    low_s, high_s = posterior.interval_s()
    return _judgement(
        tuple(
            Prediction(m.network, float(p), float(low), float(high), m.latency_s)
            for m, p, low, high in zip(heldout, posterior.latency_s, low_s, high_s, strict=True)
        )
    )


def _judgement(predictions: tuple[Prediction, ...]) -> Judgement:
    predicted = np.array([p.predicted_s for p in predictions])
    measured = np.array([p.measured_s for p in predictions])
    spearman, kendall = metrics.spearman(predicted, measured), metrics.kendall(predicted, measured)
    return Judgement(spearman, kendall, predictions)
