"""What a user asks of a search, checked, and the goal that follows from it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from farm.core.errors import UnknownName, UsageError
from farm.search.accuracy import Function
from farm.search.front import Corner
from farm.search.goals import Best, Goal, Hard, Pareto, Reward, Soft, Weighted
from farm.search.rounds import AT_ONCE
from farm.search.ways import STRATEGIES
from predictors import FloatArray

BEYOND = 1.1
"""The corner's cost relative to that of the most accurate candidate, so that this counts, too."""

REWARDS = ("hard", "soft", "weighted")

_TIME = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(us|µs|ms|s)\s*")
_UNIT_S = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a search is asked to do. Its names are the options of `farm search`.

    max_latency_s: the limit on all devices, or one for each of them.
    pareto: a front instead of one network; with a limit, as far as it holds.
    floor: the accuracy that a front ends at; that of half of the candidates without.
    reward: of REWARDS, see `farm.search.goals`; weight: of `weighted`, points of accuracy.
    accuracy: see `farm.search.accuracy`, or a function of a network's id.
    strategy, evaluations: how networks are found where accuracies are not listed, and how many are
        looked at. warm_start: the proxy that the strategy `area` begins by.
    budget: networks that are measured at most. confidence: at which it is done before.
    at_once: networks that are chosen at a time; more keep compilers busy, fewer are chosen better.
    """

    space: str
    devices: Sequence[str]
    accuracy: str | Function
    max_latency_s: float | Sequence[float] | None = None
    pareto: bool = False
    floor: float | None = None
    reward: str = "hard"
    weight: float = 1.0
    strategy: str = "random"
    evaluations: int = 1000
    warm_start: str | None = None
    budget: int = 40
    confidence: float = 0.95
    at_once: int = AT_ONCE
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.pareto and self.max_latency_s is None:
            raise UsageError("say what is wanted: --max-latency 20ms, --pareto, or both")
        if not self.devices or len(set(self.devices)) < len(self.devices):
            raise UsageError(f"--device names each device once, got {list(self.devices)}")
        for option, value, known in (
            ("reward", self.reward, REWARDS),
            ("strategy", self.strategy, STRATEGIES),
        ):
            if value not in known:
                raise UnknownName(option, value, known)
        for option, number in (
            ("budget", self.budget),
            ("evaluations", self.evaluations),
            ("at-once", self.at_once),
        ):
            if number < 1:
                raise UsageError(f"--{option} must be at least 1, got {number}")
        if self.seed < 0:
            raise UsageError(f"--seed must be at least 0, got {self.seed}")
        if not 0 < self.confidence < 1:
            raise UsageError(f"--confidence must be between 0 and 1, got {self.confidence:g}")
        if not self.weight >= 0 or math.isinf(self.weight):
            raise UsageError(f"--weight must be a number from 0 on, got {self.weight:g}")
        if self.floor is not None and not math.isfinite(self.floor):
            raise UsageError(f"--floor must be a finite number, got {self.floor:g}")
        self.limit_s  # noqa: B018  # refuses

    @property
    def limit_s(self) -> FloatArray:
        """(D,); ones where there is no limit."""
        if self.max_latency_s is None:
            return np.ones(len(self.devices))
        given = np.atleast_1d(np.asarray(self.max_latency_s, float))
        if len(given) not in (1, len(self.devices)):
            raise UsageError(
                f"--max-latency takes one limit, or one for each of {len(self.devices)} devices, "
                f"got {len(given)}"
            )
        if not (np.isfinite(given) & (given > 0)).all():
            raise UsageError(f"--max-latency must be positive, got {given.min():g} s")
        return np.broadcast_to(given, len(self.devices)).copy()

    def goal(self, cost: FloatArray, accuracy: FloatArray) -> Goal:
        """cost, accuracy: (N,), of all candidates, as far as they are known."""
        if self.pareto:
            corner = pareto_corner(cost, accuracy, self.floor)
            return Pareto(replace(corner, cost=1.0) if self.max_latency_s is not None else corner)
        self.must_suit(accuracy)
        rewards: dict[str, Callable[[], Reward]] = {
            "hard": Hard,
            "soft": Soft,
            "weighted": lambda: Weighted(self.weight),
        }
        reward = rewards[self.reward]()
        worth = accuracy if self.reward == "hard" else reward(cost, accuracy)
        # The worst network that will do is worth more than none.
        least, most = float(worth.min()), float(worth.max())
        return Best(reward, least - (0.01 * (most - least) or 1.0))

    def must_suit(self, accuracy: FloatArray) -> None:
        """Raises UsageError for accuracies that the reward cannot weigh."""
        if self.reward == "soft" and (accuracy < 0).any():
            raise UsageError(
                f"--reward soft is of accuracies that are not negative, got {accuracy.min():g}; "
                "take --reward weighted"
            )

    def to_json(self) -> str:
        """What tells one search from another."""
        name = self.accuracy if isinstance(self.accuracy, str) else "function"
        told = asdict(replace(self, accuracy=name))
        return json.dumps({**told, "devices": list(self.devices)}, sort_keys=True)


def pareto_corner(cost: FloatArray, accuracy: FloatArray, floor: float | None = None) -> Corner:
    """Where a front ends: what is slower than the most accurate network, or less accurate than
    `floor`, nobody would choose. cost, accuracy: (N,). floor: that of half of them, without."""
    best = np.lexsort((cost, -accuracy))[0]
    return Corner(
        BEYOND * float(cost[best]), float(np.median(accuracy)) if floor is None else floor
    )


def seconds(text: str) -> float:
    """Of `20ms`. Raises UsageError."""
    found = _TIME.fullmatch(text)
    if not found or not float(found[1]) > 0:
        raise UsageError(f"--max-latency takes a time such as 20ms, got {text!r}")
    return float(found[1]) * _UNIT_S[found[2]]
