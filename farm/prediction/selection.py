"""What a campaign measures next, and what it has learnt: between search spaces and predictors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from farm.core.errors import UnknownName, UsageError
from farm.core.values import Network
from farm.prediction.features import predictor
from farm.spaces.base import SearchSpace
from farm.store import Plan
from predictors.acquisition import ACQUISITIONS, Pool

POOL = 2000
"""Candidates drawn from a space by the campaign's seed; all of it where it is smaller."""

_SELECT = {"active": "variance", "random": "random"}


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

    def choose(self, chosen: Sequence[Network], n: int, typical: bool = False) -> list[Network]:
        """The next `n` networks after `chosen`, by the plan's way of selecting.

        typical: where kernels' times are known, networks at random instead: what is left to learn
            is what networks have in common, and the odd ones that `active` begins with lack that.
            Six of either made errors of .5 % and 1.1 % (NAS-Bench-201, benchmarks/kernels.py).
        """
        select = ACQUISITIONS["random" if typical else _SELECT[self._plan.select]]
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
