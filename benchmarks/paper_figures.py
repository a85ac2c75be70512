"""What others published on the same tasks: mean Spearman over a task's test devices.

The papers differ in what they test on: Multi-Predict and HELP on networks after the training ones
(HELP without each device's fastest and slowest tenth), NASFLAT on all, samples included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MULTI_PREDICT = "Multi-Predict, arXiv 2306.02459, Tables 1 to 3"
HELP = "HELP's repository HayeonLee/HELP, README; 10 more samples describe the device"
NASFLAT = (
    "NASFLAT's repository abdelfattah-lab/nasflat_latency, correlation_trainer/results_geomean.py; "
    "which figure is of which task is inferred from those that Multi-Predict prints, too"
)


@dataclass(frozen=True)
class Published:
    """One method. samples: networks measured on the target. spearman: {task: mean}."""

    method: str
    samples: int
    spearman: Mapping[str, float]
    source: str


def _nasflat(method: str, *values: float) -> Published:
    tasks = ("ND", "FD", "F1", "F2", "F3", "F4", "FA")
    return Published(method, 20, dict(zip(tasks, values, strict=True)), NASFLAT)


PUBLISHED = (
    Published("FLOPs", 0, {"ND": 0.79}, MULTI_PREDICT),
    Published("BRP-NAS", 900, {"ND": 0.79}, MULTI_PREDICT),
    Published("HELP", 20, {"ND": 0.93, "FD": 0.91, "FA": 0.37}, MULTI_PREDICT),
    Published("HELP", 10, {"ND": 0.932, "FD": 0.91}, HELP),
    Published("Multi-Predict Sample", 20, {"ND": 0.85, "FD": 0.78}, MULTI_PREDICT),
    Published("Multi-Predict Index", 10, {"ND": 0.86, "FD": 0.88}, MULTI_PREDICT),
    Published("Multi-Predict ET, Vec", 10, {"ND": 0.94, "FD": 0.96}, MULTI_PREDICT),
    Published("Multi-Predict ET, ZCPVec", 10, {"ND": 0.94}, MULTI_PREDICT),
    Published("Multi-Predict ET, HWLVec", 10, {"ND": 0.91}, MULTI_PREDICT),
    Published("Multi-Predict ET, Vec", 20, {"FA": 0.39}, MULTI_PREDICT),
    Published("Multi-Predict ET, ZCPVec", 20, {"FA": 0.45}, MULTI_PREDICT),
    Published("Multi-Predict ET, HWLVec", 20, {"FA": 0.41}, MULTI_PREDICT),
    _nasflat("HELP", 0.948, 0.91, 0.793, 0.543, 0.413, 0.799, 0.37),
    _nasflat("Multi-Predict", 0.93, 0.96, 0.756, 0.567, 0.434, 0.763, 0.45),
    _nasflat("NASFLAT", 0.959, 0.961, 0.809, 0.871, 0.814, 0.734, 0.577),
)
