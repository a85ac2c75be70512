"""What a search came to, as plain data: the object that `--json` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from farm.core.values import Network


@dataclass(frozen=True)
class Latency:
    """Seconds with the 95 % interval; measured, or else predicted. verdict: of `farm.measurement`,
    None of what is predicted."""

    latency_s: float
    low_s: float
    high_s: float
    measured: bool
    verdict: str | None = None


@dataclass(frozen=True)
class Candidate:
    """A network with its latency on each device. accuracy_off: half of the
    95 % interval of a predicted accuracy; 0 where it is known."""

    network: Network
    accuracy: float
    on: Mapping[str, Latency]
    accuracy_off: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {**self._own, "devices": {name: vars(one) for name, one in self.on.items()}}

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Candidate:
        """The inverse of `to_json`."""
        on = {name: Latency(**one) for name, one in told["devices"].items()}
        network, off = Network.from_id(told["network"]), told["accuracy_off"]
        return cls(network, told["accuracy"], on, off)

    def to_row(self) -> dict[str, Any]:
        """One row of a table; of several devices, columns for each."""
        row = self._own
        for name, one in self.on.items():
            row |= {f"{name}_{key}": value for key, value in vars(one).items()}
        return row

    @property
    def _own(self) -> dict[str, Any]:
        own = {"network": self.network.id, "accuracy": self.accuracy}
        return {**own, "accuracy_off": self.accuracy_off}


@dataclass(frozen=True)
class Surety:
    """How good predicted accuracies are where the truth is known, by cross-validation.

    results: that there are. spearman: None where it cannot be told. off: the median of how far off
    they are.
    """

    results: int
    spearman: float | None
    off: float


@dataclass(frozen=True)
class Alone:
    """What prediction alone would have chosen, and what is known of that now.

    networks: as they are known in the end, measured or not. over_limit: of them, those that do not
    hold the limit. lost: of the goal's value, relative to what the search came to; negative where
    it would have been better, which only what was not measured can be.
    """

    networks: tuple[Candidate, ...]
    over_limit: int
    lost: float


@dataclass(frozen=True)
class Found:
    """front: the networks that the search chose, all measured, cheapest first.

    candidates: how many networks it chose among. measured: how many it measured.
    missed: the share of the goal's value that may be missed, at `confidence`. stable: whether that
    is little enough. nearest: where no network holds the limit, the one that is nearest to it.
    limit_s: by device; empty without a limit. surety: where accuracies are predicted, how well.
    """

    campaign: str
    space: str
    pareto: bool
    limit_s: Mapping[str, float]
    candidates: int
    measured: int
    budget: int
    confidence: float
    missed: float
    stable: bool
    front: tuple[Candidate, ...]
    alone: Alone
    nearest: Candidate | None = None
    surety: Surety | None = None

    def to_json(self) -> dict[str, Any]:
        own = {
            name: getattr(self, name)
            for name in ("campaign", "space", "pareto", "candidates", "measured", "budget")
        }
        return {
            **own,
            "limit_s": dict(self.limit_s),
            "confidence": self.confidence,
            "missed": self.missed,
            "stable": self.stable,
            "front": [one.to_json() for one in self.front],
            "predicted_alone": {
                "networks": [one.to_json() for one in self.alone.networks],
                "over_limit": self.alone.over_limit,
                "lost": self.alone.lost,
            },
            "nearest": self.nearest and self.nearest.to_json(),
            "accuracy_predicted": self.surety and vars(self.surety),
        }

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Found:
        """The inverse of `to_json`."""
        alone, nearest = told["predicted_alone"], told["nearest"]
        own = {one.name: told[one.name] for one in fields(cls) if one.name in told}
        surety = told["accuracy_predicted"]
        chosen = tuple(map(Candidate.of_json, alone["networks"]))
        return cls(
            **{
                **own,
                "front": tuple(map(Candidate.of_json, told["front"])),
                "alone": Alone(chosen, alone["over_limit"], alone["lost"]),
                "nearest": nearest and Candidate.of_json(nearest),
                "surety": surety and Surety(**surety),
            }
        )
