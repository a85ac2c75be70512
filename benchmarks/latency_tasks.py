"""Latencies as tasks: NAS-Bench-201's table of latencies, read as one of accuracies.

Its tasks are the accuracies on three data sets and the latencies of 27 devices, of all 15,625
networks. MP-NAS (Loya et al. 2023, section 4.3, table 4) adds two latencies to its accuracies in
the same way: as they are, so that larger networks have larger values of both.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks import accuracy_file, published
from benchmarks.accuracy_file import AccuracyFile
from benchmarks.table_file import Fields, fields_of, required, words_of
from farm.core.errors import UsageError
from predictors import IntArray
from predictors.encodings.cells import NB201, NB201_EDGES

PUBLISHED_OPERATIONS = {
    "none": "zero",
    "skip_connect": "skip",
    "nor_conv_1x1": "conv_1x1",
    "nor_conv_3x3": "conv_3x3",
    "avg_pool_3x3": "avg_pool",
}
"""What the vocabulary of cells calls them."""

DATA_SETS = ("cifar10", "cifar100", "ImageNet16-120")
"""The columns of `acc`."""


def find(path: Path) -> AccuracyFile:
    """As `accuracy_file.find`; also reads a table of latencies of NAS-Bench-201.

    Raises UsageError for one of another space.
    """
    there = path if path.is_file() else published.folder() / path
    if there.is_file():
        fields = fields_of(there)
        if "latency_ms" in fields:
            return _tasks_of(there, fields)
    return accuracy_file.find(path)


def _tasks_of(path: Path, fields: Fields) -> AccuracyFile:
    names = {"ops", "op_names", "edges", "acc"}
    if not names <= set(fields):
        raise UsageError(
            f"{path}: latencies are tasks for NAS-Bench-201 alone, whose tables have "
            f"{', '.join(sorted(names))}; write others as a table of accuracies"
        )
    tasks = (*DATA_SETS, *words_of(path, fields, "devices"))
    values = np.concatenate([required(path, fields, "acc").T, required(path, fields, "latency_ms")])
    known = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    return AccuracyFile(
        path, tasks, known, _code(path, fields), np.empty((*known.shape, 0)), (), None, ()
    )


def _code(path: Path, fields: Fields) -> IntArray:
    """(N, 6), as tables of accuracies have it: other numbers, edges in another order."""
    names = [PUBLISHED_OPERATIONS[name] for name in words_of(path, fields, "op_names")]
    edges = words_of(path, fields, "edges")
    order = [edges.index(f"{start}->{end}") for start, end in NB201_EDGES]
    numbers = np.array([NB201.index(name) for name in names])
    return np.asarray(numbers[required(path, fields, "ops")[:, order]])
