"""The published few-shot tasks: which devices are known, and which are new.

ND, FD: HELP (Lee et al., NeurIPS 2021). FA: Multi-Predict (Akhauri & Abdelfattah, AutoML 2023).
F1 to F4: NASFLAT (Akhauri & Abdelfattah, MLSys 2024). Tasks with devices that no table holds are
left out. Those devices were in view while predictors were made, the papers' and ours; random
splits of a table's devices were not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from farm.core.errors import UsageError

PRETRAIN = {"nb201": 900, "fbnet": 4000}
OTHER_PRETRAIN = 900
"""Networks measured on each training device: by table, as in the papers; and of any other."""

TRAIN_SHARE, TEST_SHARE = 1 / 3, 1 / 4
"""Of a table's devices in a random split; the papers' tasks have 5 to 15 and 3 to 6 of 27."""


@dataclass(frozen=True)
class Task:
    """Training and test devices of one search space.

    space: name of the table. pretrain: networks measured on each training device in the papers.
    group: what a summary names it by; the random splits of a table are one group.
    """

    name: str
    space: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    pretrain: int
    group: str


_DEFAULT = "silver_4114 silver_4210r samsung_a50 pixel3 essential_ph_1 samsung_s7"
_GPUS = ("1080ti", "2080ti", "titan_rtx", "titanx", "titanxp")
_BATCHES = (1, 32, 64)


def _task(name: str, space: str, train: str, test: str) -> Task:
    return own(name, space, train.split(), test.split())


def own(name: str, space: str, train: Sequence[str], test: Sequence[str]) -> Task:
    """A task of the user's own."""
    pretrain = PRETRAIN.get(space, OTHER_PRETRAIN)
    return Task(name, space, tuple(train), tuple(test), pretrain, name)


def splits(space: str, devices: Sequence[str], count: int, seed: int) -> list[Task]:
    """`count` random splits of a table's devices, drawn by `seed`.

    Raises UsageError for fewer than two devices.
    """
    if len(devices) < 2:
        raise UsageError(
            f"a split needs at least 2 devices, the table {space!r} has {len(devices)}"
        )
    test = max(1, round(TEST_SHARE * len(devices)))
    train = max(1, round(TRAIN_SHARE * len(devices)))
    found = []
    for number in range(count):
        order = np.random.default_rng([seed, number]).permutation(sorted(devices)).tolist()
        pretrain, group = PRETRAIN.get(space, OTHER_PRETRAIN), f"{space}-splits"
        known, new = tuple(order[test : test + train]), tuple(order[:test])
        found.append(Task(f"{space}-split-{number}", space, known, new, pretrain, group))
    return found


TASKS = {
    task.name: task
    for task in (
        _task(
            "ND",
            "nb201",
            f"1080ti_1 1080ti_32 1080ti_256 {_DEFAULT}",
            "titan_rtx_256 gold_6226 fpga pixel2 raspi4 eyeriss",
        ),
        _task("FD", "fbnet", f"1080ti_1 1080ti_32 1080ti_64 {_DEFAULT}", "fpga raspi4 eyeriss"),
        _task(
            "F1",
            "fbnet",
            "2080ti_1 essential_ph_1 silver_4114 titan_rtx_1 titan_rtx_32",
            "eyeriss fpga raspi4 samsung_a50 samsung_s7",
        ),
        _task(
            "F2",
            "fbnet",
            "essential_ph_1 gold_6226 gold_6240 pixel3 raspi4",
            "1080ti_1 1080ti_32 2080ti_32 titan_rtx_1 titanxp_1",
        ),
        _task(
            "F3",
            "fbnet",
            "essential_ph_1 pixel2 pixel3 raspi4 samsung_s7",
            "1080ti_1 1080ti_32 2080ti_1 titan_rtx_1 titan_rtx_32",
        ),
        _task(
            "F4",
            "fbnet",
            "1080ti_64 2080ti_1 eyeriss gold_6226 gold_6240 raspi4 samsung_s7 silver_4210r "
            "titan_rtx_1 titan_rtx_32",
            "1080ti_1 pixel2 essential_ph_1",
        ),
        _task(
            "FA",
            "fbnet",
            " ".join(f"{gpu}_{batch}" for gpu in _GPUS for batch in _BATCHES),
            "gold_6226 essential_ph_1 samsung_s7 pixel2",
        ),
    )
}
