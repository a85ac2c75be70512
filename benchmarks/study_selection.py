"""What choosing by a predictor costs, and what measuring the chosen networks mends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farm.search import front
from farm.search.front import Corner
from farm.search.setting import pareto_corner
from predictors import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Selection:
    """All networks of a device. latency_s, accuracy: (N,), as they are."""

    latency_s: FloatArray
    accuracy: FloatArray
    corner: Corner

    @classmethod
    def of(cls, latency_s: FloatArray, accuracy: FloatArray) -> Selection:
        """The corner is that of `farm search --pareto`."""
        return cls(latency_s, accuracy, pareto_corner(latency_s, accuracy))

    def judge(self, believed_s: FloatArray) -> dict[str, float]:
        """Of the front by what is believed, (N,) seconds; infinite for what is not to be chosen.

        lost: mean points of accuracy below the best network that is no slower, over the chosen
        ones; verified: over those that none of the chosen beats once they were measured.
        hypervolume: what a user gets who takes, for each latency that may be wanted, the network
        that is believed to hold it, and gets nothing where it does not; verified: where the
        chosen ones were measured first. Relative to that of the true front.
        """
        chosen = self._front(believed_s)
        kept = chosen[front.non_dominated(self.latency_s[chosen], self.accuracy[chosen])]
        return {
            "chosen": len(chosen),
            "lost": self._lost(chosen),
            "lost_verified": self._lost(kept),
            "hypervolume": self._delivered(believed_s, chosen) / self._best,
            "hypervolume_verified": self._hypervolume(chosen) / self._best,
        }

    def _front(self, cost: FloatArray) -> IntArray:
        """Those that none beats, cheapest first, as far as they lie before the corner."""
        found = front.non_dominated(cost, self.accuracy)
        inside = (cost[found] < self.corner.cost) & (self.accuracy[found] > self.corner.accuracy)
        return found[inside]

    def _lost(self, rows: IntArray) -> float:
        """NaN for no network."""
        order = np.argsort(self.latency_s, kind="stable")
        reached = np.maximum.accumulate(self.accuracy[order])
        at = np.searchsorted(self.latency_s[order], self.latency_s[rows], side="right") - 1
        return float(np.mean(reached[at] - self.accuracy[rows])) if len(rows) else float("nan")

    def _delivered(self, believed_s: FloatArray, chosen: IntArray) -> float:
        starts = np.maximum(believed_s[chosen], self.latency_s[chosen])
        ends = np.append(believed_s[chosen][1:], self.corner.cost)
        gained = self.accuracy[chosen] - self.corner.accuracy
        return float((np.maximum(ends - starts, 0) * gained).sum())

    def _hypervolume(self, rows: IntArray) -> float:
        found = front.hypervolume(self.latency_s[rows][None], self.accuracy[rows], self.corner)
        return float(found[0])

    @property
    def _best(self) -> float:
        return self._hypervolume(np.arange(len(self.latency_s)))
