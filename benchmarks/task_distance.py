"""How far are a task's new devices from its known ones, and what does a predictor owe to that?

    python -m benchmarks.task_distance
    python -m benchmarks.task_distance --task FD --below .7,.6,.3 --method mixture,nearest --json

Multi-Predict, appendix A.5. Tables 9 to 11: Spearman of each training device with each test device
over all networks of the published table, and of the closest one. Table 12 (`--below`): few-shot
methods that know only training devices whose Spearman with the target is lower than that; 1 for all
of them. A target that no such device is left for is left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import published, tasks
from benchmarks.arguments import natural, positive, words
from benchmarks.evaluate import Entry, Options, Prepared, evaluate, mean_spearman
from benchmarks.methods import METHODS
from benchmarks.published import Table
from benchmarks.report import finish, keeping, say
from benchmarks.tasks import TASKS, Task
from farm.core.errors import FarmError, UnknownName
from predictors import metrics

SAMPLES = 20
"""HELP's, whose figures table 12 has."""

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 2 for words that it does not know and files that do not fit, 0 otherwise."""
    parsed = _parser().parse_args(arguments)
    try:
        for known, name in [(TASKS, n) for n in parsed.task] + [
            (METHODS, n) for n in parsed.method
        ]:
            if name not in known:
                raise UnknownName("task" if known is TASKS else "method", name, tuple(known))
        entries = tuple(Entry(n, METHODS[n], "") for n in parsed.method)
        options = Options((parsed.samples,), entries, seeds=parsed.seeds, seed=parsed.seed)
        data = published.folder(parsed.data)
        found = (run(data, TASKS[name], parsed.below, options) for name in parsed.task)
        rows = list(keeping(chain.from_iterable(found), parsed.rows))
    except FarmError as error:
        say(f"task_distance: {error}")
        return error.exit_code
    finish("task_distance", rows, summary(rows), parsed.json)
    return 0


def run(data: Path, task: Task, below: Sequence[float], options: Options) -> Iterator[Row]:
    """A row for each pair of devices, then one for each limit, method and target."""
    table = published.load(data / f"{task.space}.npz")
    alike = {new: _alike(table, task, new) for new in task.test}
    for new, of_new in alike.items():
        for known, rho in of_new.items():
            yield {"task": task.name, "device": new, "known": known, "spearman": rho}
    for limit in below:
        for new, of_new in alike.items():
            kept = [known for known, rho in of_new.items() if rho < limit]
            if not kept:
                say(f"{task.name}: {new} has no training device below {limit:g}")
                continue
            yield from _few_shot(
                table, tasks.own(task.name, task.space, kept, [new]), limit, options
            )


def _alike(table: Table, task: Task, new: str) -> dict[str, float]:
    """Spearman of each training device with a target, over networks that both were measured on."""
    target = table.column(new)
    found = {}
    for known in task.train:
        both = np.isfinite(target) & np.isfinite(table.column(known))
        found[known] = metrics.spearman(table.column(known)[both], target[both]) or 0.0
    return found


def _few_shot(table: Table, task: Task, limit: float, options: Options) -> Iterator[Row]:
    prepared = Prepared.of(table, task, options)
    for entry in options.entries:
        named = replace(entry, encoding=next(iter(entry.method.encodings), ""))
        found = mean_spearman(list(evaluate(prepared, named, "random")))
        keys = {"task": task.name, "device": task.test[0], "below": limit, "method": entry.name}
        yield {**keys, "devices": len(task.train), "spearman": found}
        say(f"{task.name} {task.test[0]} below {limit:g}: {entry.name}")


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """closest: {task: {device: [training device, Spearman]}}; few_shot: {task: {method: {limit:
    mean over devices}}}."""
    closest: dict[str, dict[str, tuple[str, float]]] = {}
    ranks: dict[str, dict[str, dict[str, list[float]]]] = {}
    for row in rows:
        if "known" in row:
            of_task = closest.setdefault(row["task"], {})
            best = of_task.get(row["device"], ("", -np.inf))
            of_task[row["device"]] = max(best, (row["known"], row["spearman"]), key=lambda p: p[1])
        else:
            of_method = ranks.setdefault(row["task"], {}).setdefault(row["method"], {})
            of_method.setdefault(f"{row['below']:g}", []).append(row["spearman"] or 0.0)
    means = {
        task: {m: {b: float(np.mean(v)) for b, v in of.items()} for m, of in methods.items()}
        for task, methods in ranks.items()
    }
    return {"closest": closest, "few_shot": means}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.task_distance", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--data", type=Path, help="folder of tables (default: $FARM_DATA)")
    add("--task", type=words, default=["ND", "FD"], help=f"of {', '.join(TASKS)} (ND,FD)")
    add("--below", type=_limits, default=[], help="the most that known devices may be alike (none)")
    add("--method", type=words, default=["mixture", "nearest"], help="with --below, A,B")
    add("--samples", type=positive, default=SAMPLES, help=f"of a target ({SAMPLES})")
    add("--seeds", type=positive, default=3, help="draws of samples (3)")
    add("--seed", type=natural, default=0, help="the first one, also of the training networks (0)")
    add("--rows", type=Path, help="a file to which each row is added when it is found")
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser


def _limits(text: str) -> list[float]:
    try:
        found = [float(word) for word in words(text)]
    except ValueError:
        found = [np.nan]
    if not all(-1 < limit <= 1 for limit in found):
        raise argparse.ArgumentTypeError(f"must be numbers above -1, 1 at most, got {text!r}")
    return found


if __name__ == "__main__":
    sys.exit(main())
