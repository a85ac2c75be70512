"""HELP: a network that was meta-learned to adapt to a device in two steps.

Lee, Lee, Chong & Hwang, HELP: Hardware-Adaptive Efficient Latency Prediction for NAS via
Meta-Learning, NeurIPS 2021 (arXiv 2106.08630), section 3: a device is described by its latencies
on ten embedding networks; episodes of a few samples and more queries train the network, a learning
rate for each of its weights (Meta-SGD, Li et al. 2017), and a modulator that shifts its last layers
for the device; at the target, the same inner steps. Hyper-parameters are those of the authors'
published code. One difference: their best episode on four more validation devices is not looked
for; the last one is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from predictors import FloatArray, IntArray
from predictors.encodings.graph import OperationGraph
from predictors.encodings.hwl import References
from predictors.models.devices import TrainingDevices, by_levels, nearest
from predictors.models.embedding_networks import embedding_positions, embedding_values, normalised
from predictors.models.gcn import nodes, with_global_node
from predictors.models.plain import Fitted
from predictors.models.training import chunks, repeatable, tensor

OUTLIERS = 0.1
"""Share of a device's fastest and slowest networks that are not learnt from."""

MODULATED = ("joint0", "joint1", "out")
"""The layers that the modulator shifts: those that see network and device together."""

Parameters = dict[str, Tensor]
"""`NAME.weight` (T, in, out) and `NAME.bias` (T, 1, out), or without T: of T devices at once."""


@dataclass(frozen=True)
class Settings:
    """episodes: 2,000 for NAS-Bench-201, 4,000 for FBNet in the paper. draws: of the modulator, for
    one prediction. kl_weight, shift_scale: of its divergence from a standard normal, and of its
    effect."""

    embedding_size: int = 10
    width: int = 100
    convolutions: int = 4
    episodes: int = 2000
    devices: int = 8
    samples: int = 10
    queries: int = 200
    steps: int = 2
    learning_rate: float = 1e-4
    first_inner_rate: float = 1e-3
    kl_weight: float = 0.1
    shift_scale: float = 0.01
    draws: int = 10
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Learned:
    """What meta-learning finds. rates: the inner learning rate of each parameter."""

    parameters: Parameters
    rates: Parameters
    modulator: Parameters

    @property
    def tensors(self) -> list[Tensor]:
        every = (self.parameters, self.rates, self.modulator)
        return [value for group in every for value in group.values()]

    def double(self) -> Learned:
        """In float64, and constant."""
        return Learned(
            *(
                {name: value.detach().double() for name, value in group.items()}
                for group in (self.parameters, self.rates, self.modulator)
            )
        )


@dataclass(frozen=True, eq=False)
class Architecture:
    """The forward pass with parameters as arguments. graph: None for an MLP on Vec."""

    graph: OperationGraph | None
    settings: Settings

    def start(self, features: int) -> Learned:
        """Drawn from torch's generator."""
        s = self.settings
        sizes = {"device0": (s.embedding_size, s.width), "device1": (s.width, s.width)}
        both = 2 * s.width
        sizes |= {"joint0": (both, both), "joint1": (both, both), "out": (both, 1)}
        first = features if self.graph is None else self.graph.kinds + 2
        depth = 2 if self.graph is None else s.convolutions
        for i in range(depth):
            sizes[f"encoder{i}"] = (s.width if i else first, s.width)
        parameters = _drawn(sizes)
        rates = {k: torch.full_like(v, s.first_inner_rate) for k, v in parameters.items()}
        shifts = 2 * (both + 1) * len(MODULATED)
        modulator = _drawn({"hidden": (s.embedding_size, 10), "shifts": (10, shifts)})
        learned = Learned(parameters, rates, modulator)
        for value in learned.tensors:
            value.requires_grad_()
        return learned

    def inputs(self, features: Tensor) -> Tensor:
        """(M, F) -> (M, F), or (M, V, kinds + 2) nodes."""
        return features if self.graph is None else nodes(self.graph, features)

    def forward(self, parameters: Parameters, inputs: Tensor, hardware: Tensor) -> Tensor:
        """inputs: (T, B, F) or (T, B, V, K), hardware: (T, A) -> (T, B)."""
        encoded = self._encoded(parameters, inputs)
        device = hardware[:, None]
        for name in ("device0", "device1"):
            device = torch.relu(_linear(parameters, name, device))
        x = torch.cat([encoded, device.expand(-1, encoded.shape[1], -1)], dim=-1)
        for name in ("joint0", "joint1"):
            x = torch.relu(_linear(parameters, name, x))
        return _linear(parameters, "out", x)[..., 0]

    def _encoded(self, parameters: Parameters, x: Tensor) -> Tensor:
        """(T, B, width)."""
        if self.graph is None:
            for i in range(2):
                x = torch.relu(_linear(parameters, f"encoder{i}", x))
            return x
        tasks, count, size, _ = x.shape
        reads = with_global_node(self.graph).to(x)
        x = torch.nn.functional.pad(x, (0, 0, 0, 1))
        for i in range(self.settings.convolutions):
            flat = x.flatten(1, 2) @ parameters[f"encoder{i}.weight"]
            mixed = reads @ flat.reshape(tasks, count, size + 1, self.settings.width)
            x = torch.relu(mixed + parameters[f"encoder{i}.bias"][:, None])
        return x[:, :, -1]

    def modulated(
        self, learned: Learned, hardware: Tensor, noise: Tensor
    ) -> tuple[Parameters, Tensor]:
        """Parameters for devices, hardware (T, A), and the modulator's divergence from a
        standard normal, summed over devices. noise: (T, Z), standard normal."""
        hidden = torch.relu(_linear(learned.modulator, "hidden", hardware))
        mean, raw = _linear(learned.modulator, "shifts", hidden).chunk(2, dim=-1)
        std = torch.nn.functional.softplus(raw)
        divergence = (0.5 * (std**2 + mean**2 - 1) - torch.log(std)).sum()
        shifts = self.settings.shift_scale * (mean + std * noise)
        found = {
            name: value.expand(len(hardware), *value.shape)
            for name, value in learned.parameters.items()
        }
        for name, part in zip(MODULATED, shifts.chunk(len(MODULATED), dim=-1), strict=True):
            found[f"{name}.weight"] = found[f"{name}.weight"] * (1 + part[:, :-1, None])
            found[f"{name}.bias"] = found[f"{name}.bias"] + part[:, -1:, None]
        return found, divergence

    @property
    def shifts(self) -> int:
        """Z, what the modulator draws for one device."""
        return (2 * self.settings.width + 1) * len(MODULATED)

    def adapted(
        self,
        parameters: Parameters,
        rates: Parameters,
        inputs: Tensor,
        hardware: Tensor,
        values: Tensor,
        differentiable: bool,
    ) -> Parameters:
        """The inner steps on samples: inputs (T, n, ...), values (T, n)."""
        for _ in range(self.settings.steps):
            off = self.forward(parameters, inputs, hardware) - values
            loss = (off**2).mean(1).sum()
            slopes = torch.autograd.grad(
                loss, list(parameters.values()), create_graph=differentiable
            )
            parameters = {
                name: value - rates[name] * slope
                for (name, value), slope in zip(parameters.items(), slopes, strict=True)
            }
        return parameters


@dataclass(frozen=True, eq=False)
class Help:
    """A rule of `predictors.models.plain`, meta-learned on devices.

    embedding_networks: (A,), positions among the training networks of those whose latencies are a
        device's embedding.
    """

    architecture: Architecture
    learned: Learned
    training: TrainingDevices
    embedding_networks: IntArray

    @classmethod
    def pretrained(
        cls,
        features: FloatArray,
        references: References,
        settings: Settings = Settings(),
        embedding_networks: IntArray | None = None,
        graph: OperationGraph | None = None,
        everywhere: bool = False,
    ) -> Help:
        """features: (N, F); with `graph`, Vec unscaled. embedding_networks: training networks that
        were measured on all references; without, `settings.embedding_size` spread over the mean
        latency. everywhere: as in `multi_predict`."""
        training = TrainingDevices.of(
            features, references, outliers=OUTLIERS, everywhere=everywhere
        )
        chosen = embedding_positions(training, settings.embedding_size, embedding_networks)
        architecture = Architecture(graph, replace(settings, embedding_size=len(chosen)))
        with repeatable(settings.seed) as generator:
            learned = architecture.start(features.shape[1])
            _meta_train(architecture, learned, training, chosen, generator)
        return cls(architecture, learned.double(), training, chosen)

    def __call__(self, x: FloatArray, log_s: FloatArray) -> Fitted:
        """As `predictors.models.plain.Rule`."""
        return by_levels(self.adapt, x, log_s)

    def adapt(self, x: FloatArray, levels: FloatArray) -> Fitted:
        """Describe the device by its embedding networks, then take the inner steps."""
        settings, known = self.architecture.settings, self.training.values[self.embedding_networks]
        with repeatable(settings.seed) as generator:
            before = self.training.known(x, self._predicted(x, normalised(known.T)).T)
            best = nearest(before, levels)
            scale = self.training.typical.matched(before[:, best], levels)
            points = self.training.features[self.embedding_networks]
            found = embedding_values(points, known[:, best], x, scale.values(levels))
            hardware = found[None]
            scale = self.training.typical.matched(self._predicted(x, hardware)[0], levels)
            drawn = self._adapted(x, hardware, scale.values(levels), generator)
        # As its authors do: what the adapted network says of the samples sets the final scale.
        final = self.training.typical.matched(self._mean(drawn, x, hardware), levels)
        return lambda new: final.levels(self._mean(drawn, new, hardware))

    def _predicted(self, x: FloatArray, hardware: FloatArray) -> FloatArray:
        """(n, F), (T, A) -> (T, n), without any step or shift."""
        devices = torch.tensor(hardware)
        with torch.no_grad():
            parameters = {
                name: value.expand(len(devices), *value.shape)
                for name, value in self.learned.parameters.items()
            }
            return self._forward(parameters, x, devices)

    def _forward(self, parameters: Parameters, x: FloatArray, hardware: Tensor) -> FloatArray:
        inputs = self.architecture.inputs(torch.tensor(x))[None]
        inputs = inputs.expand(len(hardware), *inputs.shape[1:])
        return np.asarray(self.architecture.forward(parameters, inputs, hardware).numpy())

    def _adapted(
        self, x: FloatArray, hardware: FloatArray, values: FloatArray, generator: torch.Generator
    ) -> Parameters:
        """Parameters after the inner steps, for each draw of the modulator."""
        architecture, draws = self.architecture, self.architecture.settings.draws
        devices = torch.tensor(hardware).expand(draws, -1)
        noise = torch.randn(draws, architecture.shifts, generator=generator).double()
        parameters, _ = architecture.modulated(self.learned, devices, noise)
        parameters = {name: value.clone().requires_grad_() for name, value in parameters.items()}
        inputs = architecture.inputs(torch.tensor(x))
        inputs = inputs.expand(draws, *inputs.shape)
        wanted = torch.tensor(values).expand(draws, -1)
        found = architecture.adapted(
            parameters, self.learned.rates, inputs, devices, wanted, differentiable=False
        )
        return {name: value.detach() for name, value in found.items()}

    def _mean(self, drawn: Parameters, x: FloatArray, hardware: FloatArray) -> FloatArray:
        """(M, F) -> (M,), averaged over the modulator's draws."""
        devices = torch.tensor(hardware).expand(self.architecture.settings.draws, -1)
        with repeatable(0), torch.no_grad():
            parts = [self._forward(drawn, part, devices).mean(0) for part in chunks(x)]
        return np.concatenate(parts)


def _meta_train(
    architecture: Architecture,
    learned: Learned,
    training: TrainingDevices,
    embedding_networks: IntArray,
    generator: torch.Generator,
) -> None:
    """Minimise the error on queries after the inner steps on samples, over random devices."""
    settings = architecture.settings
    optimizer = torch.optim.Adam(learned.tensors, lr=settings.learning_rate, fused=True)
    hardware = tensor(normalised(training.values[embedding_networks].T))
    inputs = architecture.inputs(tensor(training.features))
    values = tensor(training.values)
    for _ in range(settings.episodes):
        devices = torch.randperm(len(hardware), generator=generator)[: settings.devices]
        rows = _episode_rows(training, devices, settings, generator)
        noise = torch.randn(len(devices), architecture.shifts, generator=generator)
        loss = _episode_loss(
            architecture,
            learned,
            inputs[rows],
            hardware[devices],
            values[rows, devices[:, None]],
            noise,
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _episode_loss(
    architecture: Architecture,
    learned: Learned,
    inputs: Tensor,
    hardware: Tensor,
    values: Tensor,
    noise: Tensor,
) -> Tensor:
    """Of T devices with samples first and queries after them: inputs (T, n, ...), values (T, n)."""
    settings = architecture.settings
    parameters, divergence = architecture.modulated(learned, hardware, noise)
    own, asked = slice(None, settings.samples), slice(settings.samples, None)
    adapted = architecture.adapted(
        parameters, learned.rates, inputs[:, own], hardware, values[:, own], differentiable=True
    )
    off = architecture.forward(adapted, inputs[:, asked], hardware) - values[:, asked]
    loss: Tensor = (off**2).mean() + settings.kl_weight * divergence / len(hardware)
    return loss


def _episode_rows(
    training: TrainingDevices, devices: Tensor, settings: Settings, generator: torch.Generator
) -> Tensor:
    """(T, samples + queries), measured networks of each device but for outliers; fewer queries
    where it has fewer, and again from the first one where another device has more."""
    columns = [training.values[:, d] for d in devices.tolist()]
    measured = [np.flatnonzero((column >= 0) & (column <= 1)) for column in columns]
    count = min(settings.samples + settings.queries, max(map(len, measured)))
    drawn = []
    for rows in measured:
        order = torch.randperm(len(rows), generator=generator).repeat(-(-count // len(rows)))
        drawn.append(torch.tensor(rows)[order[:count]])
    return torch.stack(drawn)


def _drawn(sizes: dict[str, tuple[int, int]]) -> Parameters:
    """Weights and biases as torch.nn.Linear has them."""
    found = {}
    for name, (a, b) in sizes.items():
        layer = torch.nn.Linear(a, b)
        found[f"{name}.weight"] = layer.weight.detach().T.clone()
        found[f"{name}.bias"] = layer.bias.detach()[None].clone()
    return found


def _linear(parameters: Parameters, name: str, x: Tensor) -> Tensor:
    return x @ parameters[f"{name}.weight"] + parameters[f"{name}.bias"]
