"""How well a campaign predicts the networks that only judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from farm.core.values import Network
from farm.measurement.record import Measurement
from farm.prediction.central import CentralPredictor, DeviceModel
from farm.prediction.columns import Column
from farm.prediction.selection import Candidates
from farm.spaces.base import SearchSpace
from farm.store import Plan
from predictors import FloatArray, metrics

if TYPE_CHECKING:
    from farm.prediction.kernel_times import KernelSum
    from predictors.encodings.hwl import Normalisation

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

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "network": self.network.id}


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
    predictor = CentralPredictor(Given(_columns(learnt), sums))
    about = Candidates.of(replace(plan, holdout=0), space)
    found = {}
    for device, spec in plan.spec_of.items():
        mine = [m for m in heldout if m.device == device]
        batch = spec.batch if sums else None
        model = predictor.model(about, device, batch, [m.network for m in mine])
        found[device] = judgement(model, mine)
    return found


def judgement(model: DeviceModel, heldout: Sequence[Measurement]) -> Judgement:
    """How well a device is predicted. heldout: of networks that the model has and has not seen."""
    posterior = model.posterior(model.rows(m.network for m in heldout))
    low_s, high_s = posterior.interval_s()
    predicted, measured = posterior.latency_s, np.array([m.latency_s for m in heldout])
    return Judgement(
        metrics.spearman(predicted, measured),
        metrics.kendall(predicted, measured),
        tuple(
            Prediction(m.network, float(p), float(low), float(high), m.latency_s)
            for m, p, low, high in zip(heldout, predicted, low_s, high_s, strict=True)
        ),
    )


def _columns(measurements: Sequence[Measurement]) -> dict[str, Column]:
    by_device: dict[str, list[Measurement]] = {}
    for m in measurements:
        by_device.setdefault(m.device, []).append(m)
    return {device: Column.of(device, own) for device, own in by_device.items()}


class Given:
    """What is known of devices, by their names: a `farm.prediction.source.Source`."""

    def __init__(self, columns: Mapping[str, Column], sums: Sums | None = None) -> None:
        self._columns = columns
        self._sums = sums

    def devices(self, space: str) -> Sequence[str]:  # noqa: ARG002
        return list(self._columns)

    def measured(self, space: str, device: str) -> Column:  # noqa: ARG002
        return self._columns.get(device) or Column.of(device, ())

    def reference(self, space: str, device: str, networks: int) -> Column:  # noqa: ARG002
        return self.measured(space, device)

    def published(self, space: str) -> Sequence[Column]:  # noqa: ARG002
        return ()

    def other_spaces(self, device: str, space: str) -> Sequence[SearchSpace]:  # noqa: ARG002
        return ()

    def build_s(self, device: str) -> float:  # noqa: ARG002
        return 0.0

    def normalisations(self, space: str) -> Mapping[str, Normalisation]:  # noqa: ARG002
        return {}

    def sums(
        self,
        device: str,
        networks: Sequence[Network],
        batch: int,  # noqa: ARG002
    ) -> KernelSum | None:
        return None if self._sums is None else self._sums(device, networks)
