"""The networks that a campaign is about: those it chooses among, and those that only judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from farm.core.errors import UnknownName, UsageError
from farm.core.values import Network
from farm.spaces.base import SearchSpace
from farm.store import Plan

POOL = 2000
"""Candidates drawn from a space by the campaign's seed; all of it where it is smaller."""

SELECT = ("active", "random")
"""Ways to choose networks: by what is believed of a device, or in the seed's order."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Depends on the plan alone, so that the same plan is about the same networks in every run.

    pool: (P,) networks, in an order that the seed decides. holdout: those that only judge.
    withheld: of the pool, what teaches nothing: the holdout, and its twins, which have other code
        but the same features, so that learning from them would be peeking.
    """

    searched: SearchSpace
    pool: tuple[Network, ...]
    holdout: tuple[Network, ...]
    withheld: frozenset[Network]

    @classmethod
    def of(cls, plan: Plan, searched: SearchSpace) -> Candidates:
        """Raises UsageError for a plan that asks for more networks than there are."""
        if plan.select not in SELECT:
            raise UnknownName("way to select", plan.select, SELECT)
        pool = candidates(plan, searched)
        _, distinct, twins = np.unique(
            searched.features(pool), axis=0, return_index=True, return_inverse=True
        )
        wanted = plan.budget + plan.holdout
        if wanted > len(distinct):
            raise UsageError(
                f"--budget {plan.budget} and --holdout {plan.holdout} ask for {wanted} networks, "
                f"but only {len(distinct)} of {searched.name} differ; ask for fewer"
            )
        rows = np.sort(distinct)[: plan.holdout]
        barred = np.flatnonzero(np.isin(twins.ravel(), twins.ravel()[rows]))
        withheld = frozenset(pool[row] for row in barred)
        return cls(searched, tuple(pool), tuple(pool[row] for row in rows), withheld)

    def allowed(self, networks: Sequence[Network]) -> list[bool]:
        """Whether something may be learnt from each, of the pool or not: one that nobody can tell
        from a network that only judges may not."""
        new = [network for network in networks if network not in self._known]
        if new:
            twins = map(tuple, self.searched.features(new))
            self._known.update(
                (network, own not in self._judging) for network, own in zip(new, twins, strict=True)
            )
        return [self._known[network] for network in networks]

    @cached_property
    def _known(self) -> dict[Network, bool]:
        return {network: network not in self.withheld for network in self.pool}

    @cached_property
    def _judging(self) -> frozenset[tuple[float, ...]]:
        if not self.holdout:
            return frozenset()
        return frozenset(map(tuple, self.searched.features(list(self.holdout))))


def candidates(plan: Plan, space: SearchSpace) -> list[Network]:
    """The networks that a plan chooses among, in an order that its seed decides."""
    rng = np.random.default_rng(plan.seed)
    most = max(POOL, 4 * (plan.budget + plan.holdout))
    if plan.networks is None:
        return space.sample(min(space.size, most), rng)
    codes = rng.permutation(sorted(plan.networks))[:most]
    return [Network(plan.space, str(code)) for code in codes]
