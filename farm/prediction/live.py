"""A device's latencies inside a search loop: thousands of networks at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from farm.core.errors import UsageError
from farm.core.values import Network
from farm.inventory.config import FarmConfig
from farm.prediction.central import CentralPredictor, DeviceModel
from farm.prediction.encoding import Encoding
from farm.prediction.hwl import prepared
from farm.prediction.known_references import KnownReferences
from farm.spaces import parse_network
from farm.spaces import space as searched_space
from farm.store import Store
from predictors import FloatArray

Opened = Callable[[], AbstractContextManager[Store]]
"""Opens the farm's store for a while."""


@dataclass(frozen=True, eq=False)
class Latencies:
    """(N,) float64 seconds each, with 95 % intervals, in the order in which they were asked for.

    measured: (N,), whether it was measured before; else it is predicted.
    """

    latency_s: FloatArray
    low_s: FloatArray
    high_s: FloatArray
    measured: np.ndarray[tuple[int], np.dtype[np.bool_]]


class HWLEncoder:
    """HWL of networks by what is known when it is first asked about a search space; what is
    measured later takes a new one."""

    def __init__(self, config: FarmConfig, opened: Opened) -> None:
        self._config = config
        self._opened = opened
        self._known: dict[str, KnownReferences] = {}

    def __call__(self, networks: Sequence[str | Network]) -> Encoding:
        """Of networks of one space. Raises UsageError for one that cannot be read, for none, and
        for a reference set that does not hold any more."""
        parsed = [_parsed(network) for network in networks]
        spaces = sorted({network.space for network in parsed})
        if len(spaces) != 1:
            raise UsageError(
                f"networks of one space can be encoded at once, got {spaces or 'none'}"
            )
        if spaces[0] not in self._known:
            with self._opened() as store:
                self._known[spaces[0]] = prepared(store, self._config, spaces[0])
        return self._known[spaces[0]].encode(parsed)


def _parsed(network: str | Network) -> Network:
    return parse_network(network) if isinstance(network, str) else network


class DevicePredictor:
    """What is known of a device when it is first asked about a search space; later measurements
    take a new one.

    It predicts by other networks and devices, not by kernel times, since these take planning each
    network (`farm predict` does). What it said once it remembers.
    """

    def __init__(self, config: FarmConfig, device: str, opened: Opened) -> None:
        self._config = config
        self._device = config.device(device)
        self._opened = opened
        self._models: dict[str, DeviceModel] = {}
        self._said: dict[str | Network, tuple[float, float, float, bool]] = {}

    def __call__(self, networks: Sequence[str | Network]) -> Latencies:
        """Raises UsageError for a network that cannot be read, and where too little was measured
        to say anything."""
        new = [network for network in dict.fromkeys(networks) if network not in self._said]
        if new:
            self._ask(new)
        rows = np.array([self._said[network] for network in networks]).reshape(-1, 4)
        latency_s, low_s, high_s, measured = np.ascontiguousarray(rows.T)
        return Latencies(latency_s, low_s, high_s, measured.astype(bool))

    def _ask(self, new: Sequence[str | Network]) -> None:
        by_space: dict[str, list[tuple[str | Network, Network]]] = {}
        for said in new:
            network = _parsed(said)
            by_space.setdefault(network.space, []).append((said, network))
        for name, own in by_space.items():
            model = self._model(name)
            assert model.encode is not None  # without kernel times
            features = model.encode([network for _, network in own])
            posterior = model.fitted.posterior(features, self._device.name)
            each = zip(posterior.latency_s, *posterior.interval_s(), strict=True)
            for (said, network), (latency_s, low_s, high_s) in zip(own, each, strict=True):
                # Known by another name, it may have been measured.
                predicted = (latency_s, low_s, high_s, False)
                self._said[said] = self._said.get(network, predicted)

    def _model(self, name: str) -> DeviceModel:
        """Of a search space; what was measured of it is remembered, too."""
        if name in self._models:
            return self._models[name]
        with self._opened() as store:
            predictor = CentralPredictor.of(store, self._config)
            known = predictor.measured(name, self._device.name)
            about = predictor.whole(searched_space(name, store.models))
            model = predictor.model(about, self._device.name)
        if not model.can_tell:
            raise UsageError(
                f"{len(model.seen)} networks of {name} were measured on {self._device.name}: too "
                f"little to predict from; `farm launch --space {name} --devices "
                f"{self._device.name} --budget 10` measures some"
            )
        for m in known.measurements:
            said = (m.latency_s, *m.interval_s, True)
            self._said |= {m.network: said, m.network.id: said}
        self._models[name] = model
        return model
