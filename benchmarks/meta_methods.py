"""The methods of `benchmarks.metalearn`: each makes learners for one task of one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Protocol, runtime_checkable

import numpy as np

from benchmarks.accuracy_file import AccuracyFile
from benchmarks.accuracy_methods import Learner, standardised
from farm.core.errors import UsageError
from predictors import FloatArray, IntArray
from predictors.encodings import cells, paths
from predictors.encodings.zcp import masked
from predictors.models.accuracy_mixture import Mixture, limited_scores
from predictors.models.cell_gcn import CellsFromScratch
from predictors.models.meta import LEARNERS, MetaLearned, Settings, Task
from predictors.models.meta import Learner as Learning
from predictors.models.plain import Fitted
from predictors.models.surrogate import predict_columns


@runtime_checkable
class ZeroShot(Protocol):
    """A rule that says something of a task without a sample of it."""

    def known(self, x: FloatArray) -> FloatArray:
        """(M, F) -> (M,)."""
        ...


@dataclass(frozen=True, eq=False)
class Case:
    """One task of a table, and the tasks to learn from.

    others: (table, task). settings: of the meta-learners; their seed draws the half of the table's
    networks that is learnt from, where its own tasks are.
    """

    file: AccuracyFile
    task: str
    others: tuple[tuple[AccuracyFile, str], ...]
    settings: Settings

    @classmethod
    def of(
        cls, file: AccuracyFile, task: str, pretrain: Sequence[AccuracyFile], settings: Settings
    ) -> Case:
        """All tasks of `pretrain`, else of the table itself, but the target."""
        pairs = [(other, name) for other in pretrain or (file,) for name in other.tasks]
        return cls(
            file, task, tuple(p for p in pairs if (p[0].name, p[1]) != (file.name, task)), settings
        )

    @property
    def accuracy(self) -> FloatArray:
        """(N,), NaN where unknown."""
        return np.asarray(self.file.accuracy[self.file.index(self.task)])

    @property
    def fresh(self) -> IntArray:
        """Networks whose accuracy is known and that no other task was learnt on."""
        known = np.isfinite(self.accuracy)
        if self._own:
            known[self._half] = False
        return np.flatnonzero(known)

    @property
    def _own(self) -> bool:
        """Whether tasks of the table itself are learnt from."""
        return any(other.name == self.file.name for other, _ in self.others)

    @property
    def _half(self) -> IntArray:
        count = len(self.file.code)
        return np.random.default_rng(self.settings.seed).permutation(count)[: count // 2]

    @cached_property
    def x(self) -> FloatArray:
        """(N, F), the table's networks as graphs."""
        return cells.rows(self.file.graphs, self._places)

    @property
    def _places(self) -> int:
        files = [self.file, *(other for other, _ in self.others)]
        return max(len(graph.nodes) for file in files for graph in file.graphs)

    def task_of(self, other: AccuracyFile, name: str) -> Task:
        """What is learnt of another task; of the table itself, on one half of its networks."""
        accuracy = other.accuracy[other.index(name)]
        rows = self._half if other.name == self.file.name else np.arange(len(accuracy))
        rows = rows[np.isfinite(accuracy[rows])]
        return Task(cells.rows(other.graphs, self._places)[rows], accuracy[rows])

    @cached_property
    def structure(self) -> FloatArray:
        """(N, S), how often operations stand in each network, and on the ways through it,
        standardised; Vec where nothing says what the codes mean."""
        try:
            graphs = self.file.graphs
        except UsageError:
            return standardised(self.file.vec)
        return standardised(paths.counts(graphs))

    def known(self, structure: FloatArray) -> FloatArray:
        """(N, R): what the other tasks of the table say of every network, as far as that follows
        from structure (N, S) and the half that was learnt from."""
        if not self._own:
            return np.empty((len(structure), 0))
        own = [self._scores(task) for file, task in self.others if file.name == self.file.name]
        return standardised(predict_columns(structure, self._half, np.column_stack(own)))

    def _scores(self, task: str) -> FloatArray:
        """(H,), of the half that is learnt from, NaN where unknown."""
        values = self.file.accuracy[self.file.index(task)][self._half]
        found, here = np.full(len(values), np.nan), np.isfinite(values)
        found[here] = limited_scores(values[here])
        return found


def _random(case: Case) -> list[Learner]:
    """A network that knows nothing, trained on the samples as BRP-NAS is."""
    size = replace(case.settings.size, even=False)
    return [Learner(CellsFromScratch(size, seed=case.settings.seed), case.x)]


def _naive(case: Case) -> list[Learner]:
    """A start for each other task, adapted as meta-learned ones are."""
    settings = replace(case.settings, learner="maml", iterations=0)
    return [
        Learner(_learnt(case.file, (other,), settings), case.x, other[1]) for other in case.others
    ]


def _meta(case: Case, learner: Learning) -> list[Learner]:
    settings = replace(case.settings, learner=learner)
    return [Learner(_learnt(case.file, case.others, settings), case.x)]


@lru_cache(maxsize=32)
def _learnt(
    target: AccuracyFile, others: tuple[tuple[AccuracyFile, str], ...], settings: Settings
) -> MetaLearned:
    """The same for all tasks of the target's table that learn from the same others."""
    case = Case(target, "", others, settings)
    return MetaLearned.of([case.task_of(*other) for other in others], settings)


@dataclass(frozen=True, eq=False)
class Ours:
    """Our mixture as a rule, over networks of which `tasks` known tasks say something."""

    mixture: Mixture
    tasks: int

    def known(self, x: FloatArray) -> FloatArray:
        """(M, F) -> (M,), the mean of what the known tasks say: zero-shot."""
        return np.asarray(x[:, : self.tasks].mean(1))

    def __call__(self, x: FloatArray, values: FloatArray) -> Fitted:
        """x: (n, F), of the mixture's features; values: (n,)."""
        return self.mixture(x, values)


def _ours(case: Case, with_proxies: bool) -> list[Learner]:
    """The mixture: what the table's other tasks say of its networks are known tasks, and proxies
    only structure, or else likely means as well; from tables of other spaces it learns nothing."""
    zcp = masked(
        case.file.zcp[case.file.index(case.task)]
        if with_proxies
        else np.empty((len(case.file.code), 0))
    )
    structure = np.concatenate([zcp, case.structure], axis=1)
    known = case.known(structure)
    if not known.shape[1]:
        alone = Mixture.over(known, zcp, structure)
        return [Learner(alone, alone.features)]
    mixture = Mixture.over(known, zcp[:, :0], structure)
    return [Learner(Ours(mixture, known.shape[1]), mixture.features)]


METHODS: Mapping[str, Callable[[Case], list[Learner]]] = {
    "random": _random,
    "naive": _naive,
    **{learner: partial(_meta, learner=learner) for learner in LEARNERS},
    "mixture_vec": partial(_ours, with_proxies=False),
    "mixture": partial(_ours, with_proxies=True),
}
