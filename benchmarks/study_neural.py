"""The study's neural predictors, in torch: each trained for STEPS steps of BATCH networks at most.

As those of the others, latencies are scaled by their mean and deviation. Settings are the papers'
where they fit in the time, and customary ones elsewhere; they were not tuned on any device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from sklearn.linear_model import BayesianRidge
from torch import Tensor, nn

from benchmarks.study_contract import Predict, Samples, Setting, Studied, scaled
from predictors import FloatArray, IntArray
from predictors.models.gcn import GraphConvolutions, nodes
from predictors.models.training import Schedule, chunks, layers, repeatable, train

STEPS, FEWER_STEPS, BATCH = 1500, 600, 128
"""Fewer of the dear ones: networks on graphs and on paths."""

RATE, DECAY = 3e-3, 1e-4

MEMBERS = 3
"""Networks of a BANANAS ensemble; five in the paper."""

GCN_WIDTH, GCN_DEPTH = 64, 3

NOISE = 0.1
"""Deviations of a measurement around the Bayesian network's prediction."""

DRAWS, BETWEEN = 20, 25
"""Weights that are drawn of a Bayesian network, so many steps apart."""

Embed = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Learner:
    """network: Vec or paths (M, F) -> (M,), scaled."""

    network: nn.Module
    x: Tensor
    y: Tensor

    def train(self, generator: torch.Generator, steps: int = STEPS) -> None:
        """By squared error, in as many epochs as there are steps for."""
        an_epoch = -(-len(self.x) // BATCH)
        schedule = Schedule(max(steps // an_epoch, 1), RATE, DECAY, BATCH)
        train(self.network.parameters(), self.loss, len(self.x), schedule, generator)

    def loss(self, rows: Tensor) -> Tensor:
        return nn.functional.mse_loss(self.network(self.x[rows]), self.y[rows])


def mlp(sizes: tuple[int, ...]) -> nn.Module:
    return nn.Sequential(layers((*sizes, 1)), nn.Flatten(0))


class Gcn(nn.Module):
    """Graph convolutions and a linear layer (Wen et al., Neural Predictor for NAS, ECCV 2020),
    read out at a global node."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.graph = setting.graph
        self.convolutions = GraphConvolutions(self.graph, GCN_WIDTH, GCN_DEPTH, dropout=0.0)
        self.out = nn.Linear(GCN_WIDTH, 1)

    def embed(self, x: Tensor) -> Tensor:
        found: Tensor = self.convolutions(nodes(self.graph, x))
        return found

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.embed(x))[:, 0]
        return found


@dataclass(frozen=True)
class Mlp:
    """Layers of such widths, with ReLU between them."""

    widths: tuple[int, ...]

    def __call__(self, setting: Setting, samples: Samples) -> Predict:
        x, y, seconds = _tensors(setting.one_hot, samples)
        with repeatable(samples.seed) as generator:
            network = mlp((x.shape[1], *self.widths))
            Learner(network, x, y).train(generator)
        return lambda rows: seconds(_values(network, setting.one_hot[rows]))


def bananas(setting: Setting, samples: Samples) -> Predict:
    """The mean of networks of ten layers of 20 on the path encoding (White, Neiswanger & Savani,
    BANANAS, AAAI 2021, section 5); with layer normalisation, as in so few steps they would not
    learn."""
    x, y, seconds = _tensors(setting.paths, samples)
    members = []
    for member in range(MEMBERS):
        with repeatable(samples.seed * MEMBERS + member) as generator:
            widths = (x.shape[1], *[20] * 10)
            hidden = [
                part
                for a, b in pairwise(widths)
                for part in (nn.Linear(a, b), nn.LayerNorm(b), nn.ReLU())
            ]
            network = nn.Sequential(*hidden, nn.Linear(20, 1), nn.Flatten(0))
            Learner(network, x, y).train(generator, FEWER_STEPS)
            members.append(network)
    paths = setting.paths
    return lambda rows: seconds(np.mean([_values(own, paths[rows]) for own in members], axis=0))


def dngo(setting: Setting, samples: Samples) -> Predict:
    """Bayesian linear regression on the last of three layers of 50 (Snoek et al., Scalable Bayesian
    Optimization Using Deep Neural Networks, ICML 2015)."""
    x, y, seconds = _tensors(setting.one_hot, samples)
    with repeatable(samples.seed) as generator:
        widths = (x.shape[1], 50, 50, 50)
        steps = [p for a, b in pairwise(widths) for p in (nn.Linear(a, b), nn.Tanh())]
        body = nn.Sequential(*steps)
        Learner(nn.Sequential(body, nn.Linear(50, 1), nn.Flatten(0)), x, y).train(generator)
    predict = _on_embedding(body, setting, samples)
    return lambda rows: seconds(predict(rows))


def gcn(setting: Setting, samples: Samples) -> Predict:
    """A graph convolutional network."""
    network, seconds = _trained_gcn(setting, samples)
    return lambda rows: seconds(_values(network, setting.one_hot[rows]))


def bonas(setting: Setting, samples: Samples) -> Predict:
    """Bayesian linear regression on the embedding of a graph convolutional network (Shi et al.,
    BONAS, NeurIPS 2020, section 3.2)."""
    network, seconds = _trained_gcn(setting, samples)
    predict = _on_embedding(network.embed, setting, samples)
    return lambda rows: seconds(predict(rows))


def bayesian_network(setting: Setting, samples: Samples) -> Predict:
    """The mean of networks drawn by stochastic gradient Langevin dynamics, preconditioned (Li et
    al., AAAI 2016, algorithm 1), from a trained one on."""
    x, y, seconds = _tensors(setting.one_hot, samples)
    drawn = []
    with repeatable(samples.seed) as generator:
        network = mlp((x.shape[1], 64, 64))
        learner = Learner(network, x, y)
        learner.train(generator)
        squares = [torch.zeros_like(own) for own in network.parameters()]
        for step in range(1, DRAWS * BETWEEN + 1):
            _langevin(learner, squares, step, generator)
            if step % BETWEEN == 0:
                drawn.append({k: v.clone() for k, v in network.state_dict().items()})

    def predict(rows: IntArray) -> FloatArray:
        found = []
        for weights in drawn:
            network.load_state_dict(weights)
            found.append(_values(network, setting.one_hot[rows]))
        return seconds(np.mean(found, axis=0))

    return predict


def _langevin(
    learner: Learner, squares: list[Tensor], step: int, generator: torch.Generator
) -> None:
    """One step; the noise is that of a posterior of as many samples as there are."""
    n, rate = len(learner.x), 1e-4
    learner.network.zero_grad()
    rows = torch.randperm(n, generator=generator)[:BATCH]
    (learner.loss(rows) / (2 * NOISE**2)).backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for own, square in zip(learner.network.parameters(), squares, strict=True):
            assert own.grad is not None
            slope = own.grad + own / n
            square.mul_(0.99).addcmul_(slope, slope, value=0.01)
            scale = 1 / ((square / (1 - 0.99**step)).sqrt() + 1e-3)
            noise = torch.randn(own.shape, generator=generator)
            own += -rate * scale * slope + (2 * rate * scale / n).sqrt() * noise


def _trained_gcn(
    setting: Setting, samples: Samples
) -> tuple[Gcn, Callable[[FloatArray], FloatArray]]:
    x, y, seconds = _tensors(setting.one_hot, samples)
    with repeatable(samples.seed) as generator:
        network = Gcn(setting)
        Learner(network, x, y).train(generator, FEWER_STEPS)
    return network, seconds


def _on_embedding(embed: Embed, setting: Setting, samples: Samples) -> Predict:
    """Scaled, by Bayesian linear regression."""
    y, _ = scaled(samples)
    found = BayesianRidge().fit(_values(embed, setting.one_hot[samples.rows]), y)
    return lambda rows: found.predict(_values(embed, setting.one_hot[rows]))


def _tensors(
    encoding: FloatArray, samples: Samples
) -> tuple[Tensor, Tensor, Callable[[FloatArray], FloatArray]]:
    y, seconds = scaled(samples)
    both = (torch.tensor(v, dtype=torch.float32) for v in (encoding[samples.rows], y))
    return (*both, seconds)


def _values(network: Embed, x: FloatArray) -> FloatArray:
    with torch.no_grad():
        parts = [network(torch.tensor(part, dtype=torch.float32)).numpy() for part in chunks(x)]
    return np.concatenate(parts).astype(float)


NEURAL: dict[str, Studied] = {
    "mlp_small": Studied(Mlp((64, 64)), seeds=1),
    "mlp_large": Studied(Mlp((256, 256, 256)), seeds=1),
    "bananas": Studied(bananas, 1909, seeds=1),
    "dngo": Studied(dngo, seeds=1),
    "bayesian_network": Studied(bayesian_network, seeds=1),
    "gcn": Studied(gcn, 5353, seeds=1),
    "bonas": Studied(bonas, 5353, seeds=1),
}
