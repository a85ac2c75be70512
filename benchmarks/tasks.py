"""The published few-shot tasks: which devices are known, and which are new.

ND, FD: HELP (Lee et al., NeurIPS 2021). FA: Multi-Predict (Akhauri & Abdelfattah, AutoML 2023).
F1 to F4: NASFLAT (Akhauri & Abdelfattah, MLSys 2024). Tasks with devices that no table holds are
left out.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """Training and test devices of one search space.

    pretrain: networks measured on each training device in the papers.
    """

    name: str
    space: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    pretrain: int


_DEFAULT = "silver_4114 silver_4210r samsung_a50 pixel3 essential_ph_1 samsung_s7"
_GPUS = ("1080ti", "2080ti", "titan_rtx", "titanx", "titanxp")
_BATCHES = (1, 32, 64)


def _task(name: str, space: str, train: str, test: str) -> Task:
    pretrain = {"nb201": 900, "fbnet": 4000}[space]
    return Task(name, space, tuple(train.split()), tuple(test.split()), pretrain)


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
