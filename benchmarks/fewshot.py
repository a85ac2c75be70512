"""How well each method predicts a new device from few samples, on published tables.

    python -m benchmarks.fewshot --task all --method mixture,ridge:hwl,nearest --select active
    python -m benchmarks.fewshot --data my_table.npz --train A,B --test C,D
    python -m benchmarks.fewshot --space nb201 --splits 20
    python -m benchmarks.fewshot --task all --method all --write benchmarks/results

A method learns from `--pretrain` networks on each training device and from a few samples of a
test device, and is judged on all other networks of the table (`--protocol all`, NASFLAT's, but
for the samples) or as HELP does (`--protocol help`): samples from the training networks and
tests on the next 1,000, each without the target's fastest and slowest tenth. One draw of
training networks serves all seeds; a seed draws the samples, or the candidates for `active`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import published, tasks
from benchmarks.arguments import any_words, natural, positive, words
from benchmarks.contract import TRAININGS
from benchmarks.evaluate import SEEDS, Entry, Options, Outcome, rows, summary
from benchmarks.fewshot_run import Done, Found, run
from benchmarks.methods import METHODS
from benchmarks.published import Table
from benchmarks.report import finish, say
from benchmarks.tasks import TASKS, Task
from farm.core.errors import FarmError, UnknownName, UsageError
from predictors import metrics
from predictors.encodings import ENCODINGS


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 2 for words that it does not know and files that do not fit, 0 otherwise."""
    parsed = _parser().parse_args(arguments)
    try:
        options = _options(parsed)
        if parsed.write:
            outcomes = _written(parsed, options)
        else:
            outcomes = list(run(_tasks(parsed, options), options, (parsed.select,)))
    except FarmError as error:
        say(f"fewshot: {error}")
        return error.exit_code
    finish("fewshot", rows(outcomes), summary(outcomes), parsed.json)
    return 0


def _written(parsed: argparse.Namespace, options: Options) -> list[Outcome]:
    """Every study of the report, its files, and the outcomes with actively chosen samples."""
    from benchmarks import fewshot_report, studies

    data = published.folder(parsed.data)
    if parsed.train or parsed.splits or parsed.protocol == "help" or data.is_file():
        raise UsageError(
            "`--write` is of the published tasks, all in one folder, and has its own "
            "splits and protocols: leave out `--train`, `--splits`, `--protocol`"
        )
    made, csv = studies.of(_published(parsed, data), data, options), parsed.write / "fewshot.csv"
    done = Done.kept(parsed.write / "fewshot.partial.jsonl")
    results = []
    for study in made:
        new = list(run(study.found, study.options, study.selects, done))
        whole = [*fewshot_report.kept(csv, study, new), *new]
        results.append((study, sorted(whole, key=_place)))
    fewshot_report.write(results, parsed.write, parsed.readme)
    done.finish()
    return [outcome for outcome in results[0][1] if outcome.select == "active"]


def _place(outcome: Outcome) -> tuple[int, int]:
    """In a report: methods and tasks in the order of their lists."""
    names = list(TASKS)
    task = names.index(outcome.task) if outcome.task in names else len(names)
    return list(METHODS).index(outcome.method.partition(":")[0]), task


def _tasks(parsed: argparse.Namespace, options: Options) -> Found:
    """The tasks that are named, the one that `--train` and `--test` make, or random splits."""
    data = published.folder(parsed.data)
    own = (parsed.train, parsed.test)
    if any(words is not None for words in own):
        if not all(own):
            raise UsageError("`--train` and `--test` go together; name devices for both")
        if parsed.splits or parsed.task:
            raise UsageError("`--train` and `--test` are a task: leave out `--task` and `--splits`")
        space, path = _table_of(parsed, data, "`--train` and `--test`")
        name = f"{space}:{','.join(parsed.test)}"
        return [(tasks.own(name, space, parsed.train, parsed.test), path)]
    if parsed.splits:
        return list(_splits(parsed, options, data))
    return _published(parsed, data)


def _table_of(parsed: argparse.Namespace, data: Path, what: str) -> tuple[str, Path]:
    if data.is_file():
        return data.stem, data
    if parsed.space is None:
        raise UsageError(f"{what} need `--space NAME` or `--data FILE`")
    return parsed.space, data / f"{parsed.space}.npz"


def _splits(
    parsed: argparse.Namespace, options: Options, data: Path
) -> Iterator[tuple[Task, Path]]:
    if parsed.task:
        raise UsageError("`--splits` are tasks of their own: leave out `--task`")
    both = parsed.space is None and data.is_dir()
    named = [(s, data / f"{s}.npz") for s in tasks.PRETRAIN] if both else []
    for space, path in named or [_table_of(parsed, data, "`--splits`")]:
        table = published.load(path, options.analytic)
        for task in tasks.splits(space, _usable(table, options), parsed.splits, options.seed):
            yield task, path


def _usable(table: Table, options: Options) -> list[str]:
    """Devices with enough measured networks to be a target."""
    measured = np.isfinite(table.latency_s).sum(0)
    needed = max(options.samples) + metrics.FEWEST
    return [d for d, count in zip(table.devices, measured, strict=True) if count >= needed]


def _published(parsed: argparse.Namespace, data: Path) -> Found:
    names = list(TASKS) if parsed.task in (None, ["all"]) else parsed.task
    for name in names:
        if name not in TASKS:
            raise UnknownName("task", name, [*TASKS, "all"])
    space = data.stem if data.is_file() and parsed.space is None else parsed.space
    found = [TASKS[name] for name in names if space in (None, TASKS[name].space)]
    if not found:
        spaces = sorted({TASKS[name].space for name in names})
        raise UsageError(
            f"tasks {', '.join(names)} are of {' and '.join(spaces)}, not of {space!r}; "
            "name devices with `--train` and `--test`, or take `--splits`"
        )
    return [(task, data if data.is_file() else data / f"{task.space}.npz") for task in found]


def _options(parsed: argparse.Namespace) -> Options:
    everything = parsed.method == ["all"]
    words = list(METHODS) if everything else parsed.method
    encodings = parsed.encoding or (["all"] if everything else [])
    options = Options(
        samples=tuple(sorted(set(parsed.samples))),
        entries=tuple(entry for word in words for entry in _entries(word, encodings)),
        pretrain=parsed.pretrain,
        seeds=parsed.seeds,
        seed=parsed.seed,
        protocol=parsed.protocol,
        analytic=not parsed.without_analytic,
        training=parsed.training,
    )
    return replace(options, optional=everything or encodings == ["all"])


def _entries(word: str, encodings: Sequence[str]) -> Iterator[Entry]:
    """METHOD:ENCODING, or METHOD with each of `encodings`, which are none, some, or all."""
    name, colon, encoding = word.partition(":")
    if name not in METHODS:
        raise UnknownName("method", name, [*METHODS, "all"])
    method = METHODS[name]
    asked = [encoding] if colon else list(encodings)
    for one in asked:
        if one not in (*ENCODINGS, "all"):
            raise UnknownName("encoding", one, [*ENCODINGS, "all"])
    if colon and not method.encodings:
        raise UsageError(f"the method {name!r} has its own encoding: leave out {':' + encoding!r}")
    known = method.encodings if asked == ["all"] else [e for e in asked if e in method.encodings]
    if colon and not known:
        raise UnknownName(f"encoding of {name}", encoding, method.encodings)
    if asked and method.encodings and not known:
        raise UsageError(f"{name!r} takes the encodings {', '.join(method.encodings)}, got {asked}")
    if not known:
        yield Entry(name, method, method.encodings[0] if method.encodings else "")
    for one in known:
        yield Entry(f"{name}:{one}" if colon or len(known) > 1 else name, method, one)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.fewshot", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--data", type=Path, help="folder of tables, or one .npz file (default: $FARM_DATA)")
    add("--task", type=words, help=f"of {', '.join(TASKS)}, or all (default)")
    add("--space", help="the table to use, NAME.npz in the folder")
    add("--train", type=any_words, help="training devices of a task of your own, A,B")
    add("--test", type=any_words, help="test devices of a task of your own, C,D")
    add("--splits", type=positive, help="random splits of a table's devices instead of tasks")
    add("--pretrain", type=_pretrain, help="networks on each training device, or paper (default)")
    add("--samples", type=_counts, default=[5, 10, 20], help="samples of a target (5,10,20)")
    add("--select", choices=("random", "active"), default="active", help="how samples are chosen")
    add(
        "--method",
        type=words,
        default=["mixture"],
        help=f"of {', '.join(METHODS)}, each also as METHOD:ENCODING, or all",
    )
    add(
        "--encoding",
        type=words,
        default=[],
        help=f"of {', '.join(ENCODINGS)}, or all; for methods that take one",
    )
    add("--seeds", type=positive, help=f"draws of samples ({SEEDS}; fewer for slow methods)")
    add("--seed", type=natural, default=0, help="the first seed, also of the training networks (0)")
    add("--protocol", choices=("all", "help"), default="all", help="whose samples and tests")
    add("--training", choices=TRAININGS, default=TRAININGS[0], help="how long networks train")
    add("--without-analytic", action="store_true", help="use nothing that follows from a graph")
    add(
        "--write",
        type=Path,
        metavar="DIR",
        help="run every study, write tables and plots there; methods that are not asked for stay",
    )
    add("--readme", type=Path, metavar="FILE", help="with --write: also renew the table in FILE")
    add("--json", action="store_true", help="one JSON object on stdout")
    return parser


def _counts(text: str) -> list[int]:
    return [positive(word) for word in words(text)]


def _pretrain(text: str) -> int | None:
    if text == "paper":
        return None
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"must be a whole number, 1 or more, or paper, got {text!r}"
        )
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
