"""A table of accuracies in a `.npz` file: read, and checked field by field.

Fields: `tasks` (T,); `accuracy` (T, N), larger is better, of any sign, NaN where a network was not
trained; `code` (N, ...), whole numbers that tell networks apart; `zcp` (T, N, Z) with `zcp_names`
(Z,): zero-cost proxies of each task, NaN, infinite or -1e8 where one does not apply; a table
without proxies has neither field. It is the layout of the published tables in `../shared/data`.
Optionally `graphs` (N,): the networks as JSON, as `predictors.encodings.cells` has it, for graph
networks on a space that is not known there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks import published
from benchmarks.report import say
from benchmarks.table_file import Fields, fields_of, numbers_of, required, words_of
from farm.core.errors import NetworkSyntaxError, UnknownName, UsageError
from predictors import FloatArray, IntArray, metrics
from predictors.encodings import cells
from predictors.encodings.cells import CellGraph
from predictors.encodings.vec import one_hot

ABSENT = -1e8
"""What NAS-Bench-Suite-Zero writes where a proxy does not apply to a network."""


@dataclass(frozen=True, eq=False)
class AccuracyFile:
    """What a file says.

    accuracy: (T, N), NaN where unknown. code: (N, P), one row for each network. zcp: (T, N, Z),
    NaN where missing. given: the networks as graphs, where the file has them. notes: what was left
    out, a sentence each.
    """

    path: Path
    tasks: tuple[str, ...]
    accuracy: FloatArray
    code: IntArray
    zcp: FloatArray
    zcp_names: tuple[str, ...]
    given: tuple[CellGraph, ...] | None
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the search space: the file's, without `accuracy_`."""
        return self.path.stem.removeprefix("accuracy_")

    @cached_property
    def graphs(self) -> tuple[CellGraph, ...]:
        """(N,). Raises UsageError where neither the file nor its name says what the code means."""
        if self.given is not None:
            return self.given
        if self.name not in cells.SPACES:
            raise UsageError(
                f"{self.path}: a graph network needs graphs, and {self.name!r} is none of "
                f"{', '.join(cells.SPACES)}; add `graphs`, a JSON text for each network"
            )
        return tuple(cells.SPACES[self.name](row) for row in self.code)

    @cached_property
    def vec(self) -> FloatArray:
        """(N, V) of 0 and 1: Vec of each place of the code, without columns that never vary."""
        found = [self.code[:, :0].astype(np.float64)]
        for place in self.code.T:
            kinds, which = np.unique(place, return_inverse=True)
            if len(kinds) > 1:
                found.append(one_hot(which[:, None], len(kinds)))
        return np.concatenate(found, axis=1)

    def named(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """These of its tasks, or all where none is named. Raises UnknownName."""
        for task in tasks:
            self.index(task)
        return tuple(tasks) or self.tasks

    def without(self, proxies: Sequence[str]) -> AccuracyFile:
        """The same without some of its proxies, where it has them."""
        kept = [i for i, name in enumerate(self.zcp_names) if name not in proxies]
        names = tuple(self.zcp_names[i] for i in kept)
        return replace(self, zcp=self.zcp[..., kept], zcp_names=names)

    def some(self, tasks: Sequence[str], networks: IntArray) -> AccuracyFile:
        """The same with some of its tasks, all where none is named, and of its networks, by row."""
        kept = [self.index(task) for task in tasks] or list(range(len(self.tasks)))
        given = self.given and tuple(self.given[row] for row in networks)
        return replace(
            self,
            tasks=tuple(self.tasks[t] for t in kept),
            accuracy=self.accuracy[np.ix_(kept, networks)],
            code=self.code[networks],
            zcp=self.zcp[np.ix_(kept, networks)],
            given=given,
        )

    def index(self, task: str) -> int:
        """Raises UnknownName."""
        if task not in self.tasks:
            raise UnknownName("task", task, self.tasks)
        return self.tasks.index(task)


def find(path: Path) -> AccuracyFile:
    """Read from where it is, or from the folder of published tables; notes go to stderr."""
    file = read(path if path.is_file() else published.folder() / path)
    for note in file.notes:
        say(f"{file.name}: {note}")
    return file


def read(path: Path) -> AccuracyFile:
    """Raises UsageError for a file that is missing, damaged, or whose fields do not fit."""
    fields = fields_of(path)
    tasks = words_of(path, fields, "tasks")
    twice = [name for name, count in Counter(tasks).items() if count > 1]
    if twice or not tasks:
        raise UsageError(f"{path}: `tasks` must be different names, got {twice or 'none'}")
    accuracy = _accuracy(path, fields, len(tasks))
    zcp, names = _proxies(path, fields, accuracy)
    code = _code(path, fields, accuracy.shape[1])
    kept, notes = _rankable(tasks, accuracy)
    if not kept.size:
        raise UsageError(
            f"{path}: at least one task must have {metrics.FEWEST} different networks with "
            f"different accuracies; {'; '.join(notes)}; give a table of trained networks"
        )
    named, given = tuple(tasks[t] for t in kept), _graphs(path, fields, len(code))
    return AccuracyFile(path, named, accuracy[kept], code, zcp[kept], names, given, tuple(notes))


def _accuracy(path: Path, fields: Fields, tasks: int) -> FloatArray:
    values = numbers_of(path, "accuracy", required(path, fields, "accuracy"))
    if values.ndim != 2 or len(values) != tasks or not values.shape[1]:
        raise UsageError(
            f"{path}: `accuracy` must be ({tasks}, N), a row for each of `tasks`, got "
            f"{values.shape}; transpose it"
        )
    if np.isinf(values).any():
        raise UsageError(
            f"{path}: `accuracy` must be finite, or NaN where unknown, got "
            f"{values[np.isinf(values)][0]}; write NaN there"
        )
    return values


def _proxies(
    path: Path, fields: Fields, accuracy: FloatArray
) -> tuple[FloatArray, tuple[str, ...]]:
    if not {"zcp", "zcp_names"} & set(fields):
        return np.empty((*accuracy.shape, 0)), ()
    names = words_of(path, fields, "zcp_names")
    values = numbers_of(path, "zcp", required(path, fields, "zcp"))
    if values.shape != (*accuracy.shape, len(names)):
        raise UsageError(
            f"{path}: `zcp` must be {(*accuracy.shape, len(names))}, tasks x networks x "
            f"`zcp_names`, got {values.shape}; put NaN where a proxy is missing"
        )
    return np.where(np.isfinite(values) & (values != ABSENT), values, np.nan), names


def _code(path: Path, fields: Fields, networks: int) -> IntArray:
    code = required(path, fields, "code")
    if len(code) != networks or not np.issubdtype(code.dtype, np.integer):
        raise UsageError(
            f"{path}: `code` must be ({networks}, ...) whole numbers, got {code.shape} "
            f"{code.dtype}; give one row for each network"
        )
    return code.reshape(networks, -1).astype(np.intp)


def _graphs(path: Path, fields: Fields, networks: int) -> tuple[CellGraph, ...] | None:
    if "graphs" not in fields:
        return None
    texts = words_of(path, fields, "graphs")
    if len(texts) != networks:
        raise UsageError(f"{path}: `graphs` must be {networks} texts, got {len(texts)}")
    found = []
    for number, text in enumerate(texts):
        try:
            found.append(CellGraph.of_json(text))
        except NetworkSyntaxError as error:
            raise UsageError(f"{path}, network {number}: {error}") from error
    return tuple(found)


def _rankable(tasks: tuple[str, ...], accuracy: FloatArray) -> tuple[IntArray, list[str]]:
    """Tasks whose networks can be told apart, and a note for each other one."""
    kept, notes = [], []
    for t, values in enumerate(accuracy):
        known = values[np.isfinite(values)]
        if len(known) >= metrics.FEWEST and np.ptp(known) > 0:
            kept.append(t)
            continue
        what = f"is {known[0]:g} for every network" if len(known) else "is unknown"
        notes.append(f"task {tasks[t]!r} is left out: its accuracy {what}, so nothing ranks")
    return np.array(kept, np.intp), notes
