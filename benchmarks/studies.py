"""The runs that the report of few-shot prediction is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import published, tasks
from benchmarks.evaluate import Entry, Options
from benchmarks.fewshot_run import Found
from benchmarks.tasks import Task

SPLITS = 20
SPLIT_SEEDS = 1

UNLIKE = (
    ("1080ti_1 2080ti_1", "1080ti_64 titan_rtx_64 gold_6226 raspi4"),
    ("fpga raspi4", "1080ti_1 titan_rtx_1 gold_6226"),
)
"""FBNet: training and test devices that are unlike each other."""

JUDGED_BY_SPLITS = ("mixture", "ridge:hwl", "nearest", "flops")
OURS = ("mixture", "nearest")

OTHERS_SEEDS = 3
"""Draws of samples for all methods but ours, and those that say how many themselves."""


@dataclass(frozen=True)
class Study:
    """One run. note: what a reader has to know of it."""

    title: str
    note: str
    found: Found
    options: Options
    selects: tuple[str, ...]


def of(found: Found, data: Path, options: Options) -> list[Study]:
    """found: the published tasks. The first study is of those, with every method."""
    few = _only(options, OURS)
    unlike = [(_unlike(i), data / "fbnet.npz") for i in range(len(UNLIKE))]
    help_tasks = [(task, path) for task, path in found if task.name in ("ND", "FD")]
    return [
        Study(
            "The published tasks",
            "Training devices with as many networks as in the papers: 900 of NAS-Bench-201, 4,000 "
            "of FBNet. Tested on all other networks. All methods but ours have random samples, as "
            "published, and fewer seeds; the training of neural ones is cut to what "
            "two CPU cores do in minutes (`benchmarks/neural.py`) unless it says `published`.",
            found,
            replace(options, entries=tuple(map(_with_fewer_seeds, options.entries))),
            ("active", "random"),
        ),
        Study(
            "With 50 networks on each training device",
            "The same tasks.",
            found,
            replace(few, pretrain=50),
            ("active",),
        ),
        Study(
            f"Random splits of devices: mean over {SPLITS}",
            "Devices of a table that nobody chose: a third known, a quarter new. No setting "
            "was chosen on these; changes had to do them no harm. Devices of one make with other "
            "batch sizes fall on both sides.",
            _splits(data, options),
            replace(_only(options, JUDGED_BY_SPLITS), seeds=SPLIT_SEEDS),
            ("active",),
        ),
        Study(
            "References unlike the targets",
            "FBNet, two training devices: " + "; ".join(f"{a} for {b}" for a, b in UNLIKE) + ".",
            unlike,
            few,
            ("active",),
        ),
        Study(
            "References unlike the targets, without analytic columns",
            "The same, with nothing known of a network but its operations.",
            unlike,
            replace(_only(options, ("mixture", "nearest")), analytic=False),
            ("active",),
        ),
        Study(
            "HELP's protocol",
            "Samples from the training networks, tested on the next 1,000, without each device's "
            "fastest and slowest tenth.",
            help_tasks,
            replace(_only(options, ("mixture", "help", "nearest")), protocol="help"),
            ("random",),
        ),
    ]


def _with_fewer_seeds(entry: Entry) -> Entry:
    if entry.name == "mixture":
        return entry
    seeds = entry.method.seeds or OTHERS_SEEDS
    return replace(entry, method=replace(entry.method, seeds=seeds))


def _only(options: Options, names: Sequence[str]) -> Options:
    """Those methods among the ones that were asked for; a name without encoding means all of it."""
    kept: list[Entry] = [
        e for e in options.entries if e.name in names or e.name.partition(":")[0] in names
    ]
    return replace(options, entries=tuple(kept))


def _unlike(number: int) -> Task:
    train, test = UNLIKE[number]
    return tasks.own(f"unlike {number + 1}", "fbnet", train.split(), test.split())


def _splits(data: Path, options: Options) -> Found:
    found = []
    for space in tasks.PRETRAIN:
        path = data / f"{space}.npz"
        for task in tasks.splits(space, published.load(path).devices, SPLITS, options.seed):
            found.append((task, path))
    return found
