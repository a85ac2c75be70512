"""Multi-Predict: one network for all devices, told apart by a hardware embedding, and fine-tuned.

Akhauri & Abdelfattah, Multi-Predict: Few Shot Predictors for Efficient Neural Architecture Search,
AutoML 2023 (arXiv 2306.02459): hardware embeddings in section 3.1, fine-tuning in section 3.2
(equations 1 and 2), transfer between search spaces in section 3.2 (equation 3) and figure 7,
hyper-parameters in tables 14 and 15. Encodings are the caller's: Vec, ZCPVec or HWLVec for
`MultiPredict`, HWL for `SpaceTransfer`.

Two things are as in the authors' published code rather than in the text: the absolute error is
minimised, and fine-tuning for a device leaves the network's encoder as it was.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from predictors import FloatArray, IntArray
from predictors.encodings.hwl import References
from predictors.encodings.normalisation import TrainingRows
from predictors.models.devices import Scale, TrainingDevices, by_roots, nearest
from predictors.models.embedding_networks import embedding_positions, embedding_values, normalised
from predictors.models.plain import Fitted
from predictors.models.training import Schedule, layers, predicted, repeatable, tensor, train

EmbeddingKind = Literal["table", "sample", "index", "raw"]
"""ET (a learned table), Sample and Index of section 3.1; `raw` is Sample in milliseconds as they
are, which the paper does not exclude: see `benchmarks.sample_embedding`."""

PRETRAINING = Schedule(epochs=250, learning_rate=4e-4, weight_decay=5e-4)
TUNING = Schedule(epochs=50, learning_rate=1e-3, weight_decay=5e-4)
"""Table 15; a step of fine-tuning takes all samples."""

BITS = 8
"""Of an index as an embedding: the size of the learned one."""


@dataclass(frozen=True)
class Settings:
    """Table 15.

    batch: entries of networks x devices in one step.
    """

    embedding: EmbeddingKind = "table"
    embedding_size: int = 8
    encoder: tuple[int, ...] = (100, 100, 30)
    interaction: int = 1000
    batch: int = 128
    pretraining: Schedule = PRETRAINING
    tuning: Schedule = TUNING
    seed: int = 0


class Predictor(nn.Module):
    """Encodings (M, F) -> values (M, D), one column for each row of `hardware` (D, d)."""

    def __init__(self, features: int, hardware: Tensor, learned: bool, settings: Settings) -> None:
        super().__init__()
        *_, size = settings.encoder
        self.encoder = layers((features, *settings.encoder), nn.ReLU())
        self.hardware = nn.Parameter(hardware, requires_grad=learned)
        self.of_network = nn.Linear(size, settings.interaction)
        self.of_device = nn.Linear(hardware.shape[1], settings.interaction, bias=False)
        self.out = nn.Linear(settings.interaction, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.interact(self.encoder(x))

    def interact(self, encoded: Tensor) -> Tensor:
        """(M, E) -> (M, D). The first interaction layer sees network and device side by side, so
        that its two halves are computed once for each network and once for each device."""
        both = self.of_network(encoded)[:, None] + self.of_device(self.hardware)[None]
        return torch.sigmoid(self.out(torch.relu(both))[..., 0])


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

    @classmethod
    def pretrained(
        cls,
        features: FloatArray,
        references: References,
        settings: Settings = Settings(),
        embedding_networks: IntArray | None = None,
    ) -> MultiPredict:
        """features: (N, F), standardised; all networks of the pool.

        embedding_networks: training networks for Sample embeddings; without, as many as the
        embedding's size, evenly spread over the mean latency. Raises ValueError for networks
        without measurements.
        """
        training = TrainingDevices.of(features, references)
        chosen = embedding_positions(training, settings.embedding_size, embedding_networks)
        hardware = _embeddings(training, chosen, references, settings)
        with repeatable(settings.seed) as generator:
            learned = settings.embedding == "table"
            drawn = torch.randn(len(training.devices), settings.embedding_size)
            start = drawn if learned else tensor(hardware)
            network = Predictor(features.shape[1], start, learned, settings)
            pretrain(network, training, settings.pretraining, settings.batch, generator)
        return cls(network.double(), training, chosen, settings)

    def __call__(self, x: FloatArray, log_s: FloatArray) -> Fitted:
        """As `predictors.models.plain.Rule`."""
        return by_roots(self.adapt, x, log_s)

    def adapt(self, x: FloatArray, roots: FloatArray, hardware: FloatArray | None = None) -> Fitted:
        """Fine-tune (equation 2) from the embedding of the best training device (equation 1).

        hardware: (d,), the target's own embedding, where it was measured; a raw one must be.
        """
        with repeatable(self.settings.seed) as generator, torch.no_grad():
            known = self.network(torch.tensor(x)).numpy()
            best = nearest(known, roots)
            scale = self.training.typical.matched(known[:, best], roots)
            own = self._hardware(x, scale.values(roots), best) if hardware is None else hardware
            network = self._with(torch.as_tensor(own).reshape(1, -1))
            encoded = network.encoder(torch.tensor(x))
            _tune(network, encoded, scale.values(roots), self.settings.tuning, generator)
        return lambda new: scale.roots(predicted(network, new)[:, 0])

    def _with(self, hardware: Tensor) -> Predictor:
        """The same network for one device, hardware: (1, d)."""
        network = copy.deepcopy(self.network)
        learned = self.settings.embedding == "table"
        network.hardware = nn.Parameter(hardware.clone(), requires_grad=learned)
        return network

    def _hardware(self, x: FloatArray, values: FloatArray, best: int) -> Tensor:
        """The embedding of a new device, (1, d) float64."""
        if self.settings.embedding == "table":
            return self.network.hardware[[best]]
        if self.settings.embedding == "index":
            return torch.tensor(_bits(len(self.training.devices))[None])
        if self.settings.embedding == "raw":
            raise ValueError("a raw embedding is measured: call `adapt` with it as `hardware`")
        points = self.training.features[self.embedding_networks]
        known = predicted(self.network, points)[:, best]
        return torch.tensor(embedding_values(points, known, x, values)[None])


def pretrain(
    network: nn.Module,
    training: TrainingDevices,
    schedule: Schedule,
    entries: int,
    generator: torch.Generator,
) -> None:
    """Absolute error over all measured entries; `entries` of networks x devices in a step."""
    x, values = tensor(training.features), tensor(training.values)
    measured = torch.isfinite(values)
    wanted = torch.where(measured, values, torch.zeros(()))

    def loss(rows: Tensor) -> Tensor:
        off: Tensor = (network(x[rows]) - wanted[rows]) * measured[rows]
        return off.abs().sum()

    batch = max(entries // values.shape[1], 1)
    steps = Schedule(schedule.epochs, schedule.learning_rate, schedule.weight_decay, batch)
    train((p for p in network.parameters() if p.requires_grad), loss, len(x), steps, generator)


def _embeddings(
    training: TrainingDevices, networks: IntArray, references: References, settings: Settings
) -> FloatArray:
    """(R, d), where they are not learned. networks: (A,), positions among the training networks."""
    if settings.embedding == "index":
        return np.stack([_bits(i) for i in range(len(training.devices))])
    if settings.embedding == "raw":
        return 1e3 * references.latency_s[training.rows[networks]].T
    return normalised(training.values[networks].T)


def _bits(index: int) -> FloatArray:
    """(BITS,), the binary form of a device's index."""
    return np.array([index >> bit & 1 for bit in reversed(range(BITS))], np.float64)


def _tune(
    network: Predictor,
    encoded: Tensor,
    values: FloatArray,
    schedule: Schedule,
    generator: torch.Generator,
) -> None:
    """All of the network but its encoder, on samples encoded (n, E) with values (n,)."""
    wanted = torch.tensor(values)
    tuned = [p for name, p in network.named_parameters() if not name.startswith("encoder")]

    def loss(rows: Tensor) -> Tensor:
        off: Tensor = network.interact(encoded[rows])[:, 0] - wanted[rows]
        return off.abs().sum()

    with torch.enable_grad():
        train([p for p in tuned if p.requires_grad], loss, len(values), schedule, generator)


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
        training = TrainingDevices.of(hwl, References(latency_s[:, None], ("target",), every))
        wide = [settings.width] * (settings.depth - 1)
        with repeatable(settings.seed) as generator:
            network = layers((hwl.shape[1], *wide, 1), nn.Sigmoid())
            entries = settings.pretraining.batch or len(hwl)
            pretrain(network, training, settings.pretraining, entries, generator)
        return cls(network.double(), training.typical, settings)

    def __call__(self, x: FloatArray, log_s: FloatArray) -> Fitted:
        """As `predictors.models.plain.Rule`; x: (n, R), HWL in the second space."""
        return by_roots(self.adapt, x, log_s)

    def adapt(self, x: FloatArray, roots: FloatArray) -> Fitted:
        """Fine-tune all of the network on the samples of the second space."""
        network = copy.deepcopy(self.network)
        scale = self.scale.matched(predicted(network, x)[:, 0], roots)
        inputs, wanted = torch.tensor(x), torch.tensor(scale.values(roots))

        def loss(rows: Tensor) -> Tensor:
            off: Tensor = network(inputs[rows])[:, 0] - wanted[rows]
            return off.abs().sum()

        with repeatable(self.settings.seed) as generator:
            train(network.parameters(), loss, len(x), self.settings.tuning, generator)
        return lambda new: scale.roots(predicted(network, new)[:, 0])
