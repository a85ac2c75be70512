"""What the campaigns of `benchmarks.loop` came to: rows, ratios, learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

CURVE = 20
"""Samples that learning curves go to."""


@dataclass(frozen=True)
class Point:
    """A campaign after some samples. spearman: of the networks that are judged."""

    samples: int
    device_s: float
    spearman: float


@dataclass(frozen=True)
class Outlook:
    """A forecast for a number of samples, and what came."""

    samples: int
    more: int
    low: float
    high: float
    spearman: float

    @property
    def right(self) -> bool:
        return self.low <= self.spearman <= self.high


@dataclass(frozen=True)
class Campaign:
    """One new device, one way, one seed. curve: from no sample on. outlooks: its forecasts.
    onwards: whether it went on past its goal, to CURVE samples."""

    space: str
    device: str
    way: str
    seed: int
    goal: float
    curve: tuple[Point, ...]
    outlooks: tuple[Outlook, ...] = ()
    onwards: bool = False

    @cached_property
    def end(self) -> Point:
        """The first point at the goal, or else the last one."""
        at = (point for point in self.curve if point.spearman >= self.goal)
        return next(at, self.curve[-1])

    @property
    def reached(self) -> bool:
        return self.end.spearman >= self.goal


def rows(campaigns: Sequence[Campaign]) -> list[dict[str, Any]]:
    """One for each device and way: medians over seeds."""
    found = []
    for (space, device, way), same in _grouped(campaigns).items():
        found.append(
            {
                "space": space,
                "device": device,
                "way": way,
                "goal": same[0].goal,
                "seeds": len(same),
                "reached": float(np.mean([c.reached for c in same])),
                "samples": float(np.median([c.end.samples for c in same])),
                "device_s": float(np.median([c.end.device_s for c in same])),
                "before_any_sample": same[0].curve[0].spearman,
            }
        )
    return found


def summary(campaigns: Sequence[Campaign]) -> dict[str, Any]:
    """`*_ratio_*`: see the module; `_fine` and `_coarse`: what choosing networks saves, where all
    are measured as precisely. known_before: devices that no sample was needed for.

    spearman: of the loop, by device and samples, means over the seeds that went on.
    """
    known = {(c.space, c.device) for c in campaigns if c.way == "random" and not c.end.samples}
    outlooks = [outlook for c in campaigns for outlook in c.outlooks]
    right = [outlook.right for outlook in outlooks]
    return {
        "device_seconds_ratio_random": ratio(campaigns, "loop", "random"),
        "device_seconds_ratio_random_fine": ratio(campaigns, "loop_fine", "random"),
        "device_seconds_ratio_random_coarse": ratio(campaigns, "loop", "random_coarse"),
        "device_seconds_ratio_multipredict": ratio(campaigns, "loop", "multi_predict"),
        "known_before": sorted("/".join(pair) for pair in known),
        "forecast_coverage": float(np.mean(right)) if right else None,
        "forecast_coverage_by": {
            f"{n}+{more}": float(
                np.mean([o.right for o in outlooks if (o.samples, o.more) == (n, more)])
            )
            for n, more in dict.fromkeys((o.samples, o.more) for o in outlooks)
        },
        "spearman": {
            f"{space}/{device}": {str(p.samples): p.spearman for p in _mean(same)}
            for (space, device, way), same in _grouped(_onwards(campaigns)).items()
            if way == "loop"
        },
    }


def ratio(campaigns: Sequence[Campaign], ours: str, theirs: str) -> float | None:
    """The median over devices and seeds of our device seconds for each of theirs; None for none."""
    ends = {(c.space, c.device, c.seed, c.way): c.end for c in campaigns}
    found = [
        end.device_s / ends[*key, theirs].device_s
        for (*key, way), end in ends.items()
        if way == ours and end.samples and (*key, theirs) in ends
    ]
    return float(np.median(found)) if found else None


def plot(campaigns: Sequence[Campaign], path: Path) -> None:
    """Write the learning curves of `loop` and `random` as PNG, a panel for each space: the mean
    over devices, of the seeds that went on."""
    spaces = list(dict.fromkeys(c.space for c in campaigns))
    figure = Figure(figsize=(5 * len(spaces), 4), layout="constrained")
    for number, space in enumerate(spaces, 1):
        axes = figure.add_subplot(1, len(spaces), number)
        for way, style in (("loop", "o-"), ("random", "s--")):
            points = _mean(_onwards([c for c in campaigns if (c.space, c.way) == (space, way)]))
            axes.plot([p.device_s for p in points], [p.spearman for p in points], style, label=way)
        axes.set(title=space, xlabel="device seconds", ylabel="mean Spearman over the devices")
        axes.set_xscale("symlog", linthresh=0.1)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _grouped(campaigns: Sequence[Campaign]) -> Mapping[tuple[str, str, str], list[Campaign]]:
    """By space, device and way."""
    found: dict[tuple[str, str, str], list[Campaign]] = {}
    for c in campaigns:
        found.setdefault((c.space, c.device, c.way), []).append(c)
    return found


def _onwards(campaigns: Sequence[Campaign]) -> list[Campaign]:
    return [c for c in campaigns if c.onwards]


def _mean(campaigns: Sequence[Campaign]) -> list[Point]:
    """Up to CURVE samples, of campaigns that all have as many."""
    each = zip(*(c.curve[: CURVE + 1] for c in campaigns), strict=True)
    return [
        Point(
            points[0].samples,
            float(np.mean([p.device_s for p in points])),
            float(np.mean([p.spearman for p in points])),
        )
        for points in each
    ]
