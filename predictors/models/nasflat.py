"""NASFLAT: a graph network in which every operation carries an embedding of the device.

Akhauri & Abdelfattah, On Latency Predictors for Neural Architecture Search, MLSys 2024 (arXiv
2403.02446): operation-wise hardware embeddings, refined by a first pass over the graph; layers that
average a dense graph flow and a graph attention; a pairwise ranking loss; a new device starts from
the embedding of the best training device (Multi-Predict, equation 1). Layer sizes and rates are
those of the authors' published code. Other encodings (their ZCP, CATE or Arch2Vec) join at the end.

A score only ranks. Latencies come from a line that is fitted to the samples' scores.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from predictors import FloatArray
from predictors.encodings.graph import OperationGraph
from predictors.encodings.hwl import References
from predictors.models.devices import Scale, TrainingDevices, by_levels, nearest
from predictors.models.gcn import nodes
from predictors.models.plain import Fitted
from predictors.models.training import Schedule, layers, predicted, repeatable, tensor, train

PRETRAINING = Schedule(epochs=150, learning_rate=1e-3, weight_decay=1e-5, batch=128)
TUNING = Schedule(epochs=30, learning_rate=1e-3, weight_decay=1e-5)

MARGIN = 0.1
"""By which the score of the slower network is to be higher."""

PAIRS = 4
"""Compared in a step, for each entry of it."""

LINE_SAMPLES = 1.0
"""Samples that a training device's line from scores to latencies counts for."""


@dataclass(frozen=True)
class Settings:
    """Sizes: of embeddings of operations and devices, of a node's first state, of the layers of
    both passes over the graph, of the last layers."""

    embedding: int = 24
    state: int = 96
    refining: tuple[int, ...] = (128, 128)
    passing: tuple[int, ...] = (128, 128, 128)
    out: tuple[int, ...] = (200, 200, 200)
    other: int = 48
    dropout: float = 0.1
    pretraining: Schedule = PRETRAINING
    tuning: Schedule = TUNING
    seed: int = 0


class GraphLayer(nn.Module):
    """States (M, V, a) -> (M, V, b): the mean of a dense graph flow, gated by the operations and
    with a residual, and of an attention to the nodes that are read."""

    reads: Tensor

    def __init__(self, reads: Tensor, a: int, b: int, operations: int) -> None:
        super().__init__()
        self.register_buffer("reads", reads)
        self.flow, self.flow_gate = nn.Linear(a, b), nn.Linear(operations, b)
        self.attend = nn.Linear(a, b, bias=False)
        self.attend_gate = nn.Linear(operations, b)
        self.score = nn.Parameter(torch.empty(b).uniform_(-(b**-0.5), b**-0.5))
        self.norm = nn.LayerNorm(b)

    def forward(self, x: Tensor, operations: Tensor) -> Tensor:
        flow = self.flow(x)
        flow = torch.sigmoid(self.flow_gate(operations)) * (self.reads @ flow) + flow
        keys = self.attend(x)
        scores = (keys * self.score) @ keys.transpose(1, 2)
        weights = torch.softmax(self.reads * nn.functional.leaky_relu(scores), dim=-1)
        attended = torch.sigmoid(self.attend_gate(operations)) * (weights @ keys)
        mixed: Tensor = (flow + self.norm(attended)) / 2
        return mixed


class Network(nn.Module):
    """Vec and what may follow it (M, F), devices (M,) -> scores (M,)."""

    def __init__(
        self, graph: OperationGraph, devices: int, features: int, settings: Settings
    ) -> None:
        super().__init__()
        s, self.graph = settings, graph
        self.operation = nn.Linear(graph.kinds + 2, s.embedding, bias=False)
        self.hardware = nn.Parameter(torch.randn(devices, s.embedding))
        self.start = nn.Parameter(torch.randn(2, s.state))
        reads, both = tensor(graph.adjacency.T), 2 * s.embedding
        self.refining = _stack(reads, (s.state, *s.refining), both)
        self.summary = layers((s.refining[-1],) * 4)
        self.refine = layers((both + s.refining[-1], s.refining[-1], both))
        self.passing = _stack(reads, (s.state, *s.passing), both)
        extra = features - graph.width
        self.others = layers((extra, 128, 128, s.other)) if extra else None
        joined = s.passing[-1] + (s.other if extra else 0)
        steps: list[nn.Module] = []
        for a, b in zip((joined, *s.out[:-1]), s.out, strict=True):
            steps += [nn.Linear(a, b), nn.ReLU(), nn.Dropout(s.dropout)]
        self.out = nn.Sequential(*steps, nn.Linear(s.out[-1], 1))

    def forward(self, x: Tensor, devices: Tensor) -> Tensor:
        ops = nodes(self.graph, x)
        count = ops.shape[1]
        device = self.hardware[devices][:, None].expand(-1, count, -1)
        operations = torch.cat([self.operation(ops), device], dim=-1)
        start = self.start[[0] + [1] * (count - 1)].expand(len(x), -1, -1)
        seen = self.summary(_pass(self.refining, start, operations)[:, -1:]).expand(-1, count, -1)
        operations = self.refine(torch.cat([operations, seen], dim=-1))
        found = _pass(self.passing, start, operations)[:, 1:].mean(1)
        if self.others is not None:
            found = torch.cat([found, self.others(x[:, self.graph.width :])], dim=-1)
        score: Tensor = self.out(found)[:, 0]
        return score


@dataclass(frozen=True, eq=False)
class Nasflat:
    """A rule of `predictors.models.plain`, pretrained on devices.

    line: from scores to the levels of a typical training device.
    """

    network: Network
    line: Scale
    training: TrainingDevices
    settings: Settings

    @classmethod
    def pretrained(
        cls,
        features: FloatArray,
        references: References,
        graph: OperationGraph,
        settings: Settings = Settings(),
        everywhere: bool = False,
    ) -> Nasflat:
        """features: (N, F), Vec unscaled, and after it the columns of another encoding, if any.
        everywhere: as in `multi_predict`."""
        training = TrainingDevices.of(features, references, everywhere=everywhere)
        rows, devices = np.nonzero(np.isfinite(training.values))
        with repeatable(settings.seed) as generator:
            network = Network(graph, len(training.devices), features.shape[1], settings)
            x, of = tensor(training.features), torch.tensor(devices)
            values = tensor(training.values[rows, devices])
            which = torch.tensor(rows)

            def loss(batch: Tensor) -> Tensor:
                scores = network(x[which[batch]], of[batch])
                return ranking_loss(scores, values[batch], generator)

            train(network.parameters(), loss, len(rows), settings.pretraining, generator)
        network.double().eval()
        line = _typical_line(network, training)
        return cls(network, line, training, settings)

    def __call__(self, x: FloatArray, log_s: FloatArray) -> Fitted:
        """As `predictors.models.plain.Rule`."""
        return by_levels(self.adapt, x, log_s)

    def adapt(self, x: FloatArray, levels: FloatArray) -> Fitted:
        """Fine-tune all of the network by the ranking of the samples."""
        devices = range(len(self.training.devices))
        scores = np.stack([_scores(self.network, x, d) for d in devices], axis=1)
        typical = self.training.typical
        known = self.training.known(x, typical.values(self.line.levels(scores)))
        network = copy.deepcopy(self.network)
        best = nearest(known, levels)
        network.hardware = nn.Parameter(self.network.hardware[[best]].detach().clone())
        inputs, wanted = torch.tensor(x), torch.tensor(levels)
        with repeatable(self.settings.seed) as generator:
            network.train()

            def loss(batch: Tensor) -> Tensor:
                scores = network(inputs[batch], torch.zeros_like(batch))
                return ranking_loss(scores, wanted[batch], generator)

            if len(x) > 1:
                train(network.parameters(), loss, len(x), self.settings.tuning, generator)
            network.eval()
        line = fitted_line(self.line, _scores(network, x, 0), levels)
        return lambda new: line.levels(_scores(network, new, 0))


def ranking_loss(scores: Tensor, values: Tensor, generator: torch.Generator) -> Tensor:
    """Hinge loss of pairs of entries (b,): the slower one is to score higher by MARGIN."""
    first, second = torch.triu_indices(len(scores), len(scores), offset=1)
    differ = torch.nonzero(values[first] != values[second])[:, 0]
    drawn = torch.randperm(len(differ), generator=generator)[: PAIRS * len(scores)]
    first, second = first[differ[drawn]], second[differ[drawn]]
    order = torch.sign(values[first] - values[second])
    short = torch.relu(MARGIN - order * (scores[first] - scores[second]))
    return short.sum() / max(len(drawn), 1)


def fitted_line(usual: Scale, scores: FloatArray, levels: FloatArray) -> Scale:
    """The line through the samples by least squares, shrunk to the usual slope; always rising."""
    slope = usual.span * float(levels.mean() / usual.levels(scores).mean())
    off, apart = scores - scores.mean(), levels - levels.mean()
    weight = LINE_SAMPLES * max(float(off.var()), MARGIN**2)
    found = (float(off @ apart) + weight * slope) / (float(off @ off) + weight)
    span = max(found, 0.05 * slope)
    return Scale(float(levels.mean() - span * scores.mean()), span)


def _typical_line(network: Network, training: TrainingDevices) -> Scale:
    """Over a typical device's training networks."""
    spans, bases = [], []
    for device, values in enumerate(training.values.T):
        own = np.flatnonzero(np.isfinite(values))[:512]
        scores = _scores(network, training.features[own], device)
        levels = training.typical.levels(values[own])
        spans.append(float(levels.std()) / max(float(scores.std()), MARGIN))
        bases.append(float(levels.mean()) - spans[-1] * float(scores.mean()))
    return Scale(float(np.median(bases)), float(np.median(spans)))


def _scores(network: Network, x: FloatArray, device: int) -> FloatArray:
    """(M, F) -> (M,)."""
    return predicted(lambda part: network(part, torch.full((len(part),), device)), x)


def _stack(reads: Tensor, sizes: tuple[int, ...], operations: int) -> nn.ModuleList:
    return nn.ModuleList(GraphLayer(reads, a, b, operations) for a, b in pairwise(sizes))


def _pass(stack: nn.ModuleList, x: Tensor, operations: Tensor) -> Tensor:
    """(M, V, a) -> (M, V, b); no ReLU after the last layer."""
    for i, layer in enumerate(stack):
        x = layer(torch.relu(x) if i else x, operations)
    return x
