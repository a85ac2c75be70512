"""The methods of `benchmarks.accuracy`: each makes learners for one task of one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmarks.accuracy_file import AccuracyFile
from farm.core.errors import UsageError
from predictors import FloatArray, IntArray
from predictors.encodings import cells
from predictors.encodings.normalisation import Standardisation, TrainingRows
from predictors.encodings.zcp import masked
from predictors.models.accuracies import FromScratch, Transferred
from predictors.models.accuracy_mixture import Mixture
from predictors.models.cell_gcn import CellsFromScratch
from predictors.models.plain import Rule

SHARE = 0.15
"""Of a task's networks that a transfer learns from first (Multi-Predict, A.9)."""


@dataclass(frozen=True, eq=False)
class Learner:
    """A rule with the networks as it sees them, x: (N, F). source: the task it learnt from."""

    rule: Rule
    x: FloatArray
    source: str | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """A task that was learnt from, and the target's networks in the encoding that both share."""

    name: str
    model: Transferred
    x: FloatArray


@dataclass(frozen=True, eq=False)
class Case:
    """One task of a table. others: (table, task) to learn from. seed: draws their networks."""

    file: AccuracyFile
    task: str
    others: tuple[tuple[AccuracyFile, str], ...]
    seed: int

    @classmethod
    def of(cls, file: AccuracyFile, task: str, pretrain: Sequence[AccuracyFile], seed: int) -> Case:
        """All tasks of `pretrain` but the target itself."""
        pairs = [(other, name) for other in pretrain for name in other.tasks]
        return cls(
            file, task, tuple(p for p in pairs if (p[0].name, p[1]) != (file.name, task)), seed
        )

    @property
    def accuracy(self) -> FloatArray:
        """(N,), NaN where unknown."""
        return np.asarray(self.file.accuracy[self.file.index(self.task)])

    @property
    def known(self) -> IntArray:
        """Networks whose accuracy is known."""
        return np.flatnonzero(np.isfinite(self.accuracy))

    @cached_property
    def zcp(self) -> FloatArray:
        """(N, 2 Z), without columns that say nothing."""
        return _varying(masked(self.file.zcp[self.file.index(self.task)]))

    @cached_property
    def vec(self) -> FloatArray:
        """(N, V), standardised."""
        return standardised(self.file.vec)

    @cached_property
    def graphs(self) -> FloatArray | None:
        """(N, V + V * V), rows of `cells.rows`; None where nothing says what the code means."""
        try:
            return cells.rows(self.file.graphs)
        except UsageError:
            return None

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """Pretrained once for all seeds."""
        return tuple(found for other in self.others if (found := self._source(*other)) is not None)

    def _source(self, other: AccuracyFile, task: str) -> Source | None:
        """None where the two tables have no proxy in common."""
        names = [name for name in other.zcp_names if name in self.file.zcp_names]
        if not names:
            return None
        accuracy = other.accuracy[other.index(task)]
        known = np.random.default_rng(self.seed).permutation(np.flatnonzero(np.isfinite(accuracy)))
        learnt = known[: max(round(SHARE * len(known)), 2)]
        theirs, ours = _shared(other, task, names), _shared(self.file, self.task, names)
        model = Transferred.pretrained(theirs[learnt], accuracy[learnt])
        return Source(f"{other.name}/{task}", model, ours)

    def lacks(self, method: str) -> str:
        """Why a method has no learner here."""
        if method in TRANSFER:
            return "no task to learn from has a proxy in common with it; give `--pretrain` others"
        if method == "brp_nas":
            return "the file has no `graphs` and its space is unknown; add them as JSON"
        return "its networks say nothing in this encoding"


def _shared(file: AccuracyFile, task: str, names: Sequence[str]) -> FloatArray:
    columns = [file.zcp_names.index(name) for name in names]
    return masked(file.zcp[file.index(task)][:, columns])


def _varying(values: FloatArray) -> FloatArray:
    return values[:, np.ptp(values, axis=0) > 0]


def standardised(values: FloatArray) -> FloatArray:
    """(N, F), over all networks of a table."""
    return Standardisation.fit(values, TrainingRows.every(values)).apply(values)


def _scratch(*parts: str) -> Callable[[Case], Iterator[Learner]]:
    def learners(case: Case) -> Iterator[Learner]:
        x = np.concatenate([getattr(case, part) for part in parts], axis=1)
        if x.shape[1]:
            yield Learner(FromScratch(), x)

    return learners


def _mixture(case: Case) -> Iterator[Learner]:
    none = np.empty((len(case.vec), 0))
    mixture = Mixture.over(none, case.zcp, np.concatenate([case.zcp, case.vec], axis=1))
    yield Learner(mixture, mixture.features)


def _transfer(case: Case) -> Iterator[Learner]:
    for source in case.sources:
        yield Learner(source.model, source.x, source.name)


def _mixture_transfer(case: Case) -> Iterator[Learner]:
    """With what every source says of the networks, before it is fine-tuned, as known tasks."""
    if case.sources:
        said = np.column_stack([source.model.known(source.x) for source in case.sources])
        structure = np.concatenate([case.zcp, case.vec], axis=1)
        mixture = Mixture.over(standardised(said), case.zcp, structure)
        yield Learner(mixture, mixture.features)


def _brp_nas(case: Case) -> Iterator[Learner]:
    """On graphs; none where the networks' graphs are not known."""
    if case.graphs is not None:
        yield Learner(CellsFromScratch(), case.graphs)


TRANSFER = ("zcp_transfer", "mixture_transfer")

METHODS: Mapping[str, Callable[[Case], Iterator[Learner]]] = {
    "vec": _scratch("vec"),
    "zcp": _scratch("zcp"),
    "zcpvec": _scratch("zcp", "vec"),
    "brp_nas": _brp_nas,
    "mixture": _mixture,
    "zcp_transfer": _transfer,
    "mixture_transfer": _mixture_transfer,
}
