"""Model-agnostic meta-learning of a graph network: MAML, ANIL and BOIL.

Finn, Abbeel & Levine, Model-Agnostic Meta-Learning, ICML 2017 (equation 1 and section 5.2 for the
first-order form); Raghu et al., Rapid Learning or Feature Reuse?, ICLR 2020 (ANIL: only the last
layer is adapted); Oh et al., BOIL, ICLR 2021 (all but the last layer is). Put to predictors of
accuracy by MP-NAS (Loya et al. 2023, section 3.2, equations 4 to 7, table 9).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from scipy.stats import norm, rankdata
from torch import Tensor, nn
from torch.func import functional_call, vmap

from predictors import FloatArray, metrics
from predictors.models.accuracy_mixture import FURTHEST, Levels
from predictors.models.cell_gcn import PAPER, CellNetwork, Size
from predictors.models.plain import Fitted
from predictors.models.training import Schedule, least_squares, predicted, repeatable, tensor

EVEN = replace(PAPER, even=True)

Learner = Literal["maml", "anil", "boil"]
LEARNERS: tuple[Learner, ...] = ("maml", "anil", "boil")

Parameters = Mapping[str, Tensor]

JOINT = Schedule(epochs=40, learning_rate=6e-3, weight_decay=1e-4, batch=32)
"""Of the training on all tasks at once that meta-learning starts from."""


@dataclass(frozen=True)
class Settings:
    """Table 9, but for what it leaves open, and for steps that are longer than its .035: with
    `Size.even` those hardly move what tells networks apart. iterations: outer steps; the paper has
    400 epochs of 2,048 networks, 64 at once. tasks: in each of them. samples, queries: networks
    that a task is adapted to and judged by. limit: of the length of all slopes in one inner step.
    tuning_rate, steps: of adapting to a new task, with Adam, which needs no limit. joint: of what
    meta-learning starts from. starts: learnt by seeds of their own, of which the mean is taken; the
    paper has one.
    """

    learner: Learner = "boil"
    second_order: bool = False
    size: Size = EVEN
    iterations: int = 12_800
    tasks: int = 3
    samples: int = 10
    queries: int = 32
    inner_steps: int = 6
    inner_rate: float = 0.1
    outer_rate: float = 8e-5
    limit: float = 0.3
    tuning_rate: float = 1e-3
    steps: int = 100
    joint: Schedule = JOINT
    starts: int = 3
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Task:
    """One to learn from. x: (n, F), values: (n,), of any sign."""

    x: FloatArray
    values: FloatArray

    @property
    def z(self) -> FloatArray:
        """(n,), what is learnt: normal scores, by rank. Networks that learnt nothing are so far off
        that all others would be next to equal."""
        return np.asarray(norm.ppf((rankdata(self.values) - 0.5) / len(self.values)))


def adapts(learner: Learner, name: str) -> bool:
    """Whether the inner loop changes the parameter `name`; `out` is the last layer."""
    last = name.startswith("out.")
    return learner == "maml" or last == (learner == "anil")


def adapted(network: nn.Module, x: Tensor, z: Tensor, settings: Settings) -> dict[str, Tensor]:
    """Parameters, (T, ...), after the inner steps on samples x (T, n, F), z (T, n) of T tasks:
    equations 4 and 6."""
    start = network.named_parameters()
    found = {name: value.expand(len(x), *value.shape) for name, value in start}
    names = [name for name in found if adapts(settings.learner, name)]
    for _ in range(settings.inner_steps):
        slopes = torch.autograd.grad(
            squared(network, found, x, z).sum(),
            [found[name] for name in names],
            create_graph=settings.second_order,
        )
        for name, slope in zip(names, _limited(slopes, settings.limit), strict=True):
            found[name] = found[name] - settings.inner_rate * slope
    return found


def _limited(slopes: Sequence[Tensor], limit: float) -> list[Tensor]:
    """Slopes (T, ...), those of a task shortened so that all together are no longer than `limit`:
    else a descent runs away from few samples, and teaches the start nothing."""
    length = torch.stack([slope.detach().flatten(1).norm(dim=1) for slope in slopes]).norm(dim=0)
    share = limit / length.clamp(min=limit)
    return [torch.einsum("t,t...->t...", share, slope) for slope in slopes]


def squared(network: nn.Module, parameters: Parameters, x: Tensor, z: Tensor) -> Tensor:
    """(T,), the mean squared error of each task's network; parameters (T, ...)."""

    def predict(own: dict[str, Tensor], rows: Tensor) -> Tensor:
        found: Tensor = functional_call(network, own, (rows,))
        return found

    said = vmap(predict, randomness="different")(dict(parameters), x)
    return ((said - z) ** 2).mean(1)


@dataclass(frozen=True, eq=False)
class Episodes:
    """Of T tasks: samples x (T, n, F), z (T, n), and queries to judge by."""

    x: Tensor
    z: Tensor
    queries: Tensor
    wanted: Tensor


def meta_loss(network: nn.Module, episodes: Episodes, settings: Settings) -> Tensor:
    """What the outer loop descends, equations 5 and 7: the error of each adapted network on its
    queries, the mean over tasks."""
    own = adapted(network, episodes.x, episodes.z, settings)
    return squared(network, own, episodes.queries, episodes.wanted).mean()


@dataclass(frozen=True, eq=False)
class Start:
    """One that was learnt, and what a new task makes of it."""

    network: CellNetwork
    settings: Settings

    @classmethod
    def of(cls, tasks: Sequence[Task], settings: Settings) -> Start:
        """Learn it from tasks whose rows are of one width."""
        with repeatable(settings.seed) as generator:
            network = _joint(tasks, settings, generator)
            known = [(tensor(task.x), tensor(task.z)) for task in tasks]
            optimizer = torch.optim.AdamW(network.parameters(), lr=settings.outer_rate)
            for _ in range(settings.iterations):
                optimizer.zero_grad()
                drawn = _episodes(known, settings, generator)
                meta_loss(network, drawn, settings).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return cls(network.double().eval(), settings)

    def known(self, x: FloatArray) -> FloatArray:
        """(M, F) -> (M,), what is said of a task without a sample of it: zero-shot."""
        return predicted(self.network, x)

    def __call__(self, x: FloatArray, values: FloatArray) -> Fitted:
        """x: (n, F), values: (n,), put on the start's own scale: no step has to move them all."""
        said = self.known(x)
        levels, start = Levels.of(values), Levels.of(said)
        z = np.clip(levels.z(values), -FURTHEST, FURTHEST)
        with repeatable(self.settings.seed):
            network = _tuned(self, x, start.values(z))
        share = trust(values, said)

        def fitted(new: FloatArray) -> FloatArray:
            mixed = (1 - share) * self.known(new) + share * predicted(network, new)
            return levels.values(start.z(mixed))

        return fitted


def trust(values: FloatArray, said: FloatArray) -> float:
    """The share of the adapted network in what is said, the rest being the start's. values: (n,),
    of samples; said: (n,), by the start.

    Empirical Bayes (Efron & Morris, Stein's Estimation Rule and Its Competitors, JASA 1973): one
    minus the rank correlation says how far this task lies from those that the start was made of,
    0 for one like them and 1 for an unrelated one; against it stands what n samples leave open, the
    task's own variance divided by n. By rank, as networks that learnt nothing, of which any start
    knows, would outweigh all others.
    """
    apart = 1 - (metrics.spearman(values, said) or 0.0)
    return apart / (apart + 1 / len(values))


@dataclass(frozen=True, eq=False)
class MetaLearned:
    """A rule of `predictors.models.plain` on values of any sign: the mean of some starts."""

    starts: tuple[Start, ...]

    @classmethod
    def of(cls, tasks: Sequence[Task], settings: Settings) -> MetaLearned:
        """Learn starts from tasks whose rows are of one width; each has a seed of its own."""
        seeds = range(settings.seed, settings.seed + settings.starts)
        return cls(tuple(Start.of(tasks, replace(settings, seed=seed)) for seed in seeds))

    def known(self, x: FloatArray) -> FloatArray:
        """(M, F) -> (M,), zero-shot."""
        return np.asarray(np.mean([start.known(x) for start in self.starts], axis=0))

    def __call__(self, x: FloatArray, values: FloatArray) -> Fitted:
        """x: (n, F), values: (n,)."""
        fitted = [start(x, values) for start in self.starts]
        return lambda new: np.asarray(np.mean([one(new) for one in fitted], axis=0))


def _joint(tasks: Sequence[Task], settings: Settings, generator: torch.Generator) -> CellNetwork:
    """A network that says of each row the mean of all tasks that have it: what joint training on
    them tends to, for as little work as one task takes."""
    network = CellNetwork(settings.size)
    x, which = np.unique(np.concatenate([task.x for task in tasks]), axis=0, return_inverse=True)
    z = np.concatenate([task.z for task in tasks])
    mean = np.bincount(which, z) / np.bincount(which)
    least_squares(network.double(), x, mean, settings.joint, generator)
    return network.float()


def _episodes(
    known: Sequence[tuple[Tensor, Tensor]], settings: Settings, generator: torch.Generator
) -> Episodes:
    """Some of the tasks, as many networks of each; samples and queries have none in common."""
    drawn = [known[t] for t in torch.randperm(len(known), generator=generator)[: settings.tasks]]
    fewest = min(len(x) for x, _ in drawn)
    samples = min(settings.samples, fewest // 2)
    count = min(samples + settings.queries, fewest)
    orders = [torch.randperm(len(x), generator=generator)[:count] for x, _ in drawn]
    x = torch.stack([x[order] for (x, _), order in zip(drawn, orders, strict=True)])
    z = torch.stack([z[order] for (_, z), order in zip(drawn, orders, strict=True)])
    return Episodes(x[:, :samples], z[:, :samples], x[:, samples:], z[:, samples:])


def _tuned(model: Start, x: FloatArray, z: FloatArray) -> CellNetwork:
    """After some steps of Adam: the network, of those on its way, that fits samples best."""
    settings, network = model.settings, copy.deepcopy(model.network).float()
    rows, wanted = tensor(x), tensor(z)
    best, least = model.network.state_dict(), math.inf
    free = [p for name, p in network.named_parameters() if adapts(settings.learner, name)]
    optimizer = torch.optim.Adam(free, lr=settings.tuning_rate, fused=True)
    for _ in range(settings.steps + 1):
        optimizer.zero_grad()
        loss = ((network(rows) - wanted) ** 2).mean()
        if loss.item() < least:
            best, least = copy.deepcopy(network.state_dict()), loss.item()
        loss.backward()
        optimizer.step()
    network.load_state_dict(best)
    return network.double()
