"""What a campaign measures next, and what it has learnt: between search spaces and predictors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from farm.encode import Reference, predictor
from farm.errors import UnknownName, UsageError
from farm.spaces import SearchSpace
from farm.store import Plan
from farm.types import Measurement, Network
from predictors import Observations, metrics
from predictors.acquisition import ACQUISITIONS, Pool
from predictors.models.mixture_gp import MixtureGP

POOL = 2000
"""Candidates drawn from a space by the campaign's seed; all of it where it is smaller."""

_SELECT = {"active": "variance", "random": "random"}


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


class Chooser:
    """Chooses networks for a plan. Depends on the plan and the networks chosen before, never on
    a measured value, so that the same plan asks for the same networks in every run.

    holdout: the networks that only judge.
    Raises UsageError for a plan that asks for more networks than there are.
    """

    def __init__(self, plan: Plan, space: SearchSpace) -> None:
        if plan.select not in _SELECT:
            raise UnknownName("way to select", plan.select, _SELECT)
        wanted = plan.budget + plan.holdout
        self._plan = plan
        self._pool = candidates(plan, space)
        self._row = {network: row for row, network in enumerate(self._pool)}
        self._model = predictor(space, self._pool, len(self._pool))
        _, distinct, twins = np.unique(
            space.features(self._pool), axis=0, return_index=True, return_inverse=True
        )
        if wanted > len(distinct):
            raise UsageError(
                f"--budget {plan.budget} and --holdout {plan.holdout} ask for {wanted} networks, "
                f"but only {len(distinct)} of {space.name} differ; ask for fewer"
            )
        rows = np.sort(distinct)[: plan.holdout]
        self.holdout = [self._pool[row] for row in rows]
        # A twin has other code but the same features: learning from it would be peeking.
        barred = np.flatnonzero(np.isin(twins.ravel(), twins.ravel()[rows]))
        self._rows = Pool(self._model.features, plan.seed, barred)

    def choose(self, chosen: Sequence[Network], n: int) -> list[Network]:
        """The next `n` networks after `chosen`, by the plan's way of selecting."""
        select = ACQUISITIONS[_SELECT[self._plan.select]]
        taken = [self._row[network] for network in chosen]
        return [self._pool[row] for row in select(self._rows, taken, n, prior=self._model)]


def candidates(plan: Plan, space: SearchSpace) -> list[Network]:
    """The networks that a plan chooses among, in an order that its seed decides."""
    rng = np.random.default_rng(plan.seed)
    most = max(POOL, 4 * (plan.budget + plan.holdout))
    if plan.networks is None:
        return space.sample(min(space.size, most), rng)
    codes = rng.permutation(sorted(plan.networks))[:most]
    return [Network(plan.space, str(code)) for code in codes]


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
