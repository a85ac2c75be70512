"""How well a campaign predicts the networks that only judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    from predictors.models.mixture_gp import MixtureGP


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
) -> Mapping[str, Judgement]:
    """Fit on `learnt` and predict `heldout`, for each device of `plan`.

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
        others = [
            other
            for name, other in by_device.items()
            if name != device and len(other.rows) >= metrics.FEWEST
        ]
        model = predictor(space, networks, len(pool), others)
        mine = [m for m in heldout if m.device == device]
        judgements[device] = _judge(model, by_device[device], mine, row)
    return judgements


def _reference(measurements: Sequence[Measurement], row: Mapping[Network, int]) -> Reference:
    rows = np.array([row[m.network] for m in measurements], np.intp)
    return Reference(rows, np.array([m.latency_s for m in measurements]))


def _judge(
    model: MixtureGP,
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
