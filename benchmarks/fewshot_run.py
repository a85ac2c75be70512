"""Runs few-shot methods on tasks, task by task, and goes on where a run was cut short."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

from benchmarks import published
from benchmarks.evaluate import (
    Entry,
    Options,
    Outcome,
    Prepared,
    evaluate,
    grouped,
    mean_spearman,
)
from benchmarks.published import Table
from benchmarks.report import say
from benchmarks.tasks import Task
from farm.core.errors import UsageError

ROOT = Path(__file__).parent.parent

Found = Sequence[tuple[Task, Path]]
"""Tasks, each with the file of its table."""


@dataclass(frozen=True, eq=False)
class Done:
    """What is done of a long run, kept in a file of JSON lines until all of it is.

    The first line is a digest of the code: after a change of any of it all is done anew.
    """

    path: Path | None
    outcomes: dict[str, list[Outcome]]

    @classmethod
    def nothing(cls) -> Done:
        """Nothing, and nothing will be kept."""
        return cls(None, {})

    @classmethod
    def kept(cls, path: Path) -> Done:
        """What `path` says, if the code is still the same; a torn last line counts as not done."""
        lines = path.read_text().splitlines() if path.exists() else []
        known: dict[str, list[Outcome]] = {}
        if lines[:1] == [_digest()]:
            for line in lines[1:]:
                try:
                    one = json.loads(line)
                except json.JSONDecodeError:
                    break
                known[one["key"]] = [Outcome(**outcome) for outcome in one["outcomes"]]
        path.parent.mkdir(parents=True, exist_ok=True)
        done = cls(path, {})
        path.write_text(_digest() + "\n")
        for key, outcomes in known.items():
            done.add(key, outcomes)
        return done

    def add(self, key: str, outcomes: list[Outcome]) -> None:
        """Keep the outcomes of one method on one task."""
        self.outcomes[key] = outcomes
        if self.path:
            with self.path.open("a") as file:
                one = {"key": key, "outcomes": [asdict(outcome) for outcome in outcomes]}
                file.write(json.dumps(one) + "\n")

    def finish(self) -> None:
        """All is done: forget it."""
        if self.path:
            self.path.unlink(missing_ok=True)


def _digest() -> str:
    """Of all that outcomes depend on in this project."""
    digest = hashlib.sha256()
    for folder in ("benchmarks", "predictors", "farm/spaces"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def run(
    found: Found, options: Options, selects: Sequence[str], done: Done | None = None
) -> Iterator[Outcome]:
    """Every method on every task. Raises UsageError for what does not fit together.

    selects: ways to choose samples; what is pretrained serves all of them. done: what an earlier
    run that was cut short had found.
    """
    told: set[str] = set()
    for task, path in found:
        table = published.load(path, options.analytic)
        for note in [n for n in table.notes if n not in told]:
            say(f"{path.name}: {note}")
        told.update(table.notes)
        where = f"{path}: {task}"
        yield from _task(where, task, table, options, selects, done or Done.nothing())


def _task(
    where: str, task: Task, table: Table, options: Options, selects: Sequence[str], done: Done
) -> Iterator[Outcome]:
    prepared: Prepared | None = None
    for entry, select in product(options.entries, selects):
        if select == "active" and len(selects) > 1 and entry.method.seeds:
            continue  # Where both are asked for, slow methods are run on what is published of them.
        key = f"{where} {replace(options, entries=())} {entry.name} {select}"
        if key not in done.outcomes:
            prepared = prepared or _prepared(table, task, options)
            done.add(key, _one(prepared, entry, select))
        yield from done.outcomes[key]


def _prepared(table: Table, task: Task, options: Options) -> Prepared:
    prepared = Prepared.of(table, task, options)
    say(f"{task.name}: references learnt in {prepared.pretrain_s:.1f} s")
    return prepared


def _one(prepared: Prepared, entry: Entry, select: str) -> list[Outcome]:
    """One method on one task, with a line about it."""
    start = time.perf_counter()
    try:
        outcomes = list(evaluate(prepared, entry, select))
    except UsageError as error:
        if not prepared.options.optional:
            raise
        say(f"{prepared.task.name} {entry.name}: left out: {error}")
        return []
    by_samples = [mean_spearman(same) for same in grouped(outcomes, "samples").values()]
    told = " ".join("–" if rho is None else f"{rho:.3f}" for rho in by_samples)
    spent_s = time.perf_counter() - start
    say(f"{prepared.task.name} {entry.name} {select}: {told} in {spent_s:.1f} s")
    return outcomes
