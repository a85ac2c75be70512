"""Multi-Predict: one network for all devices, told apart by a hardware embedding, and fine-tuned.

Akhauri & Abdelfattah, Multi-Predict: Few Shot Predictors for Efficient Neural Architecture Search,
AutoML 2023 (arXiv 2306.02459): hardware embeddings in section 3.1, fine-tuning in section 3.2
(equations 1 and 2), transfer between search spaces in section 3.2 (equation 3) and figure 7,
hyper-parameters in tables 14 and 15. Encodings are the caller's: Vec, ZCPVec or HWLVec for
`MultiPredict`, HWL for `SpaceTransfer`.

Three things are as in the authors' published code rather than in the text: the absolute error is
minimised, fine-tuning for a device leaves the network's encoder as it was, and embeddings that are
not learned pass two small layers. `benchmarks.sample_embedding` shows what each is worth.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from predictors import FloatArray, IntArray
from predictors.encodings.graph import OperationGraph
from predictors.encodings.hwl import References
from predictors.encodings.normalisation import TrainingRows
from predictors.models.devices import Scale, TrainingDevices, by_levels, nearest
from predictors.models.embedding_networks import embedding_positions
from predictors.models.gcn import nodes, with_global_node
from predictors.models.plain import Fitted
from predictors.models.training import CHUNK, Schedule, layers, predicted, repeatable, tensor, train

EmbeddingKind = Literal["table", "sample", "index"]
"""ET (a learned table), Sample and Index of section 3.1."""

PRETRAINING = Schedule(epochs=250, learning_rate=4e-4, weight_decay=5e-4)
TUNING = Schedule(epochs=50, learning_rate=1e-3, weight_decay=5e-4)
"""Table 15; a step of fine-tuning takes all samples."""

BITS = 8
"""Of an index as an embedding: the size of the learned one."""


@dataclass(frozen=True)
class Settings:
    """Table 15.

    encoder: layers on an encoding (FBNet). convolutions, connected: layers on a graph
    (NAS-Bench-201). batch: entries of networks x devices in one step. squared, frozen, bent: the
    squared error in place of the absolute one; whether fine-tuning leaves the encoder alone; square
    roots of latencies in place of latencies.
    """

    embedding: EmbeddingKind = "table"
    embedding_size: int = 8
    encoder: tuple[int, ...] = (100, 100, 30)
    convolutions: tuple[int, ...] = (200, 200, 200)
    connected: tuple[int, ...] = (200, 200, 30)
    interaction: int = 1000
    batch: int = 128
    pretraining: Schedule = PRETRAINING
    tuning: Schedule = TUNING
    squared: bool = False
    frozen: bool = True
    bent: bool = False
    seed: int = 0


class GraphEncoder(nn.Module):
    """Vec, unscaled, and what may follow it (M, F) -> (M, E): graph convolutions (Kipf & Welling,
    ICLR 2017), a global node's state, connected layers; what follows Vec joins at the end."""

    reads: Tensor

    def __init__(self, graph: OperationGraph, settings: Settings) -> None:
        super().__init__()
        self.graph = graph
        self.register_buffer("reads", with_global_node(graph))
        sizes = (graph.kinds + 2, *settings.convolutions)
        self.mixes = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.connected = layers((settings.convolutions[-1], *settings.connected))

    def forward(self, x: Tensor) -> Tensor:
        found = nn.functional.pad(nodes(self.graph, x), (0, 0, 0, 1))
        for mix in self.mixes[:-1]:
            found = torch.relu(mix(self.reads @ found))
        whole = torch.relu(self.mixes[-1](self.reads[-1] @ found))
        return torch.cat([self.connected(whole), x[:, self.graph.width :]], dim=1)


class Predictor(nn.Module):
    """Encodings (M, F) -> values (M, D), one column for each row of `hardware` (D, d)."""

    def __init__(
        self,
        features: int,
        hardware: Tensor,
        settings: Settings,
        graph: OperationGraph | None,
    ) -> None:
        super().__init__()
        if graph is None:
            self.encoder: nn.Module = layers((features, *settings.encoder), nn.ReLU())
            size = settings.encoder[-1]
        else:
            self.encoder = GraphEncoder(graph, settings)
            size = settings.connected[-1] + features - graph.width
        learned = settings.embedding == "table"
        self.hardware = nn.Parameter(hardware, requires_grad=learned)
        wide = hardware.shape[1]
        described = nn.Identity() if learned else layers((wide, 100, BITS), nn.Sigmoid())
        self.describe: nn.Module = described
        self.of_network = nn.Linear(size, settings.interaction)
        self.of_device = nn.Linear(wide if learned else BITS, settings.interaction, bias=False)
        self.out = nn.Linear(settings.interaction, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.interact(self.encoder(x))

    def interact(self, encoded: Tensor) -> Tensor:
        """(M, E) -> (M, D). The first interaction layer sees network and device side by side, so
        that its two halves are computed once for each network and once for each device."""
        device = self.of_device(self.describe(self.hardware))
        both = self.of_network(encoded)[:, None] + device[None]
        return torch.sigmoid(self.out(torch.relu(both))[..., 0])


@dataclass(eq=False)
class Seen:
    """What a frozen encoder made of the networks that were asked for last: of a pool that many
    devices are predicted on, once."""

    networks: FloatArray | None = None
    found: FloatArray | None = None

    def encoded(self, network: Predictor, x: FloatArray) -> FloatArray:
        """(M, F) -> (M, E)."""
        if len(x) <= CHUNK:
            return predicted(network.encoder, x)
        if self.found is None or self.networks is not x:
            self.networks, self.found = x, predicted(network.encoder, x)
        return self.found


@dataclass(frozen=True, eq=False)
class MultiPredict:
    """A rule of `predictors.models.plain`, pretrained on devices.

    embedding_networks: (A,), positions among the training networks of those whose latencies are a
        device's Sample embedding.
    """

    network: Predictor
    training: TrainingDevices
    embedding_networks: IntArray
    settings: Settings
    seen: Seen = field(default_factory=lambda: Seen())

    @classmethod
    def pretrained(
        cls,
        features: FloatArray,
        references: References,
        settings: Settings = Settings(),
        embedding_networks: IntArray | None = None,
        graph: OperationGraph | None = None,
        everywhere: bool = False,
    ) -> MultiPredict:
        """features: (N, F), standardised; all networks of the pool; with `graph`, Vec unscaled and
        after it the columns of another encoding, if any.

        embedding_networks: training networks for Sample embeddings; without, as many as the
        embedding's size, evenly spread over the mean latency. everywhere: equation 1 takes what
        `references` know of any network. Raises ValueError for networks without measurements.
        """
        training = TrainingDevices.of(features, references, settings.bent, everywhere=everywhere)
        chosen = embedding_positions(training, settings.embedding_size, embedding_networks)
        with repeatable(settings.seed) as generator:
            drawn = torch.randn(len(training.devices), settings.embedding_size)
            learned = settings.embedding == "table"
            start = drawn if learned else tensor(_embeddings(training, chosen, settings))
            network = Predictor(features.shape[1], start, settings, graph)
            pretrain(network, training, settings.pretraining, settings.batch, generator, settings)
        return cls(network.double(), training, chosen, settings)

    def __call__(self, x: FloatArray, log_s: FloatArray) -> Fitted:
        """As `predictors.models.plain.Rule`."""
        return by_levels(self.adapt, x, log_s, self.settings.bent)

    def adapt(self, x: FloatArray, levels: FloatArray, asked: FloatArray | None = None) -> Fitted:
        """Fine-tune (equation 2) from the embedding of the best training device (equation 1).

        asked: (d,), an embedding to predict with in place of the one that was tuned.
        """
        with repeatable(self.settings.seed) as generator, torch.no_grad():
            known = self.training.known(x, self.network(torch.tensor(x)).numpy())
            best = nearest(known, levels)
            scale = self.training.typical.matched(known[:, best], levels)
            values = np.clip(scale.values(levels), 0.0, 1.0)
            network = self._with(self._hardware(x, values, best))
            _tune(network, torch.tensor(x), values, self.settings, generator)
            if asked is not None:
                network.hardware = nn.Parameter(torch.as_tensor(asked).reshape(1, -1).double())
        if not self.settings.frozen:
            return lambda new: scale.levels(predicted(network, new)[:, 0])
        return lambda new: scale.levels(
            predicted(network.interact, self.seen.encoded(self.network, new))[:, 0]
        )

    def _with(self, hardware: Tensor) -> Predictor:
        """The same network for one device, hardware: (1, d)."""
        network = copy.deepcopy(self.network)
        learned = self.settings.embedding == "table"
        network.hardware = nn.Parameter(hardware.clone(), requires_grad=learned)
        return network

    def _hardware(self, x: FloatArray, values: FloatArray, best: int) -> Tensor:
        """The embedding of a new device, (1, d) float64. Of a Sample embedding, networks that are
        no samples count as on the best training device."""
        if self.settings.embedding == "table":
            return self.network.hardware[[best]]
        if self.settings.embedding == "index":
            return torch.tensor(bits(len(self.training.devices))[None])
        found = self.training.values[self.embedding_networks, best].copy()
        for i, network in enumerate(self.training.features[self.embedding_networks]):
            same = (x == network).all(1)
            if same.any():
                found[i] = values[same].mean()
        return torch.tensor(found[None])


def pretrain(
    network: nn.Module,
    training: TrainingDevices,
    schedule: Schedule,
    entries: int,
    generator: torch.Generator,
    settings: Settings = Settings(),
) -> None:
    """The error over all measured entries; `entries` of networks x devices in a step."""
    x, values = tensor(training.features), tensor(training.values)
    measured = torch.isfinite(values)
    wanted = torch.where(measured, values, torch.zeros(()))

    def loss(rows: Tensor) -> Tensor:
        return _error((network(x[rows]) - wanted[rows]) * measured[rows], settings)

    batch = max(entries // values.shape[1], 1)
    steps = Schedule(schedule.epochs, schedule.learning_rate, schedule.weight_decay, batch)
    train((p for p in network.parameters() if p.requires_grad), loss, len(x), steps, generator)


def _error(off: Tensor, settings: Settings) -> Tensor:
    found: Tensor = (off**2 if settings.squared else off.abs()).sum()
    return found


def _embeddings(training: TrainingDevices, networks: IntArray, settings: Settings) -> FloatArray:
    """(R, d), where they are not learned. networks: (A,), positions among the training networks."""
    if settings.embedding == "index":
        return np.stack([bits(i) for i in range(len(training.devices))])
    return training.values[networks].T


def bits(index: int) -> FloatArray:
    """(BITS,), the binary form of a device's index."""
    return np.array([index >> bit & 1 for bit in reversed(range(BITS))], np.float64)


def _tune(
    network: Predictor,
    x: Tensor,
    values: FloatArray,
    settings: Settings,
    generator: torch.Generator,
) -> None:
    """On samples x (n, F) with values (n,); all of the network, or all but its encoder."""
    wanted, encoded = torch.tensor(values), network.encoder(x)
    tuned = [
        p
        for name, p in network.named_parameters()
        if p.requires_grad and not (settings.frozen and name.startswith("encoder"))
    ]

    def loss(rows: Tensor) -> Tensor:
        seen = encoded[rows] if settings.frozen else network.encoder(x[rows])
        return _error(network.interact(seen)[:, 0] - wanted[rows], settings)

    with torch.enable_grad():
        train(tuned, loss, len(values), settings.tuning, generator)


TRANSFER_PRETRAINING = Schedule(250, learning_rate=4e-3, weight_decay=5e-4, batch=128)
TRANSFER_TUNING = Schedule(50, learning_rate=4e-4, weight_decay=5e-4)
"""Table 14, with its batch as in table 15."""


@dataclass(frozen=True)
class TransferSettings:
    """Table 14. Without pretraining epochs, a transfer learns from scratch."""

    depth: int = 4
    width: int = 128
    pretraining: Schedule = TRANSFER_PRETRAINING
    tuning: Schedule = TRANSFER_TUNING
    seed: int = 0


@dataclass(frozen=True, eq=False)
class SpaceTransfer:
    """A rule on HWL for one device, pretrained on another search space (equation 3, figure 7).

    scale: of the device in the space that it was pretrained on.
    """

    network: nn.Sequential
    scale: Scale
    settings: TransferSettings

    @classmethod
    def pretrained(
        cls, hwl: FloatArray, latency_s: FloatArray, settings: TransferSettings = TransferSettings()
    ) -> SpaceTransfer:
        """hwl: (n, R), networks of the first space on the reference devices, standardised there.
        latency_s: (n,) seconds on the device that will be a target in another space."""
        every = TrainingRows.every(hwl)
        training = TrainingDevices.of(hwl, References(latency_s[:, None], ("target",), every), True)
        wide = [settings.width] * (settings.depth - 1)
        with repeatable(settings.seed) as generator:
            network = layers((hwl.shape[1], *wide, 1), nn.Sigmoid())
            entries = settings.pretraining.batch or len(hwl)
            pretrain(network, training, settings.pretraining, entries, generator)
        return cls(network.double(), training.typical, settings)

    def __call__(self, x: FloatArray, log_s: FloatArray) -> Fitted:
        """As `predictors.models.plain.Rule`; x: (n, R), HWL in the second space."""
        return by_levels(self.adapt, x, log_s, bent=True)

    def adapt(self, x: FloatArray, levels: FloatArray) -> Fitted:
        """Fine-tune all of the network on the samples of the second space."""
        network = copy.deepcopy(self.network)
        scale = self.scale.matched(predicted(network, x)[:, 0], levels)
        inputs = torch.tensor(x)
        wanted = torch.tensor(np.clip(scale.values(levels), 0.0, 1.0))

        def loss(rows: Tensor) -> Tensor:
            off: Tensor = network(inputs[rows])[:, 0] - wanted[rows]
            return off.abs().sum()

        with repeatable(self.settings.seed) as generator:
            train(network.parameters(), loss, len(x), self.settings.tuning, generator)
        return lambda new: scale.levels(predicted(network, new)[:, 0])
