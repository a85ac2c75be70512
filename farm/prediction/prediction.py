"""Latencies of any networks on one device: measured before, or predicted with an interval, and the
kernels that they are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from farm.core.errors import UsageError
from farm.core.values import Network
from farm.inventory.config import Device
from farm.measurement.record import Measurement
from farm.prediction.features import predictor
from farm.prediction.hwl import known, quantity
from farm.prediction.selection import POOL
from farm.spaces import space
from farm.spaces.base import ONNX, SearchSpace
from farm.store import Store
from predictors import Observations, metrics

if TYPE_CHECKING:
    from predictors import FloatArray, Posterior

ENTRY = "entry"
"""In place of a kernel: what a network takes once, besides its kernels."""


@dataclass(frozen=True)
class KernelShare:
    """A kernel in a network. latency_s: of one call; share: of the network's sum.

    source: `measured` or `predicted`.
    """

    kernel: str
    name: str
    calls: int
    latency_s: float
    share: float
    source: str


@dataclass(frozen=True)
class Predicted:
    """A network on the device, in seconds, with its 95 % interval.

    source: `cached`, it was measured before; `kernels`, predicted from their times and from
    measured networks; `networks`, from measured networks alone.
    """

    network: Network
    latency_s: float
    low_s: float
    high_s: float
    source: str
    kernels: tuple[KernelShare, ...] = ()

    @property
    def measured(self) -> bool:
        return self.source == "cached"

    def to_json(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("latency_s", "low_s", "high_s", "source")}
        own["high_s"] = self.high_s if self.high_s != np.inf else None  # of a single session
        kernels = {"kernels": [vars(kernel) for kernel in self.kernels]} if self.kernels else {}
        return {"network": self.network.id, **own, "measured": self.measured, **kernels}


@dataclass(frozen=True)
class Predictions:
    """In the order in which they were asked for. learnt: measured networks of the same search
    spaces that they were predicted from; timed: kernels."""

    device: str
    networks: tuple[Predicted, ...]
    learnt: int
    timed: int

    def to_json(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "networks": [one.to_json() for one in self.networks],
            "learnt": self.learnt,
            "kernels": self.timed,
        }


def predict(
    store: Store, device: Device, networks: Sequence[Network], explain: bool = False
) -> Predictions:
    """What networks take on a device, as far as the store tells. Measures nothing.

    Raises UsageError where too little was measured to say anything.
    """
    if not store.facts(device.name):
        raise UsageError(
            f"nothing was measured on {device.name} yet; {_next_step(device, networks[0].space)}"
        )
    from farm.compile import alone
    from farm.prediction.kernel_times import timed

    found: dict[Network, Predicted] = {}
    learnt = 0
    for name in dict.fromkeys(network.space for network in networks):
        own = list(dict.fromkeys(n for n in networks if n.space == name))
        about = _About.of(store, device, name, own, explain)
        found |= about.predicted()
        learnt += len(about.seen)
    found_codes = timed(store, store.facts(device.name)[-1], {})
    kernels = sum(not code.endswith(alone.ONCE) for code in found_codes)
    return Predictions(device.name, tuple(found[n] for n in networks), learnt, kernels)


@dataclass(frozen=True, eq=False)
class _About:
    """What is known of one search space on a device."""

    store: Store
    device: Device
    searched: SearchSpace
    networks: Sequence[Network]
    seen: Sequence[Measurement]
    explain: bool

    @classmethod
    def of(
        cls, store: Store, device: Device, name: str, networks: Sequence[Network], explain: bool
    ) -> _About:
        newest = {
            m.network: m
            for m in store.as_now(store.measurements(device=device.name))
            if m.network.space == name and quantity(m.spec) == quantity(device.spec)
        }
        seen = tuple(newest.values())
        return cls(store, device, space(name, store.models), networks, seen, explain)

    def predicted(self) -> dict[Network, Predicted]:
        cached = {n: m for n in self.networks if (m := known(self.store, n, self.device))}
        rest = [n for n in self.networks if n not in cached]
        found = {n: _cached(m) for n, m in cached.items()} | self._by_kernels(rest)
        rest = [n for n in rest if n not in found]
        found |= self._by_networks(rest) if rest else {}
        return found if not self.explain else self._explained(found)

    def _by_kernels(self, rest: Sequence[Network]) -> dict[Network, Predicted]:
        """Those whose kernels' times are known."""
        from farm.prediction.kernel_times import kernel_sums
        from predictors.models.kernel_sum import KernelSumGP

        networks = [*(m.network for m in self.seen), *rest]
        sums = kernel_sums(self.store, self.device.name, networks, self.device.spec.batch)
        if sums is None or not rest:
            return {}
        rows = np.flatnonzero(np.isfinite(sums.latency_s))
        model = KernelSumGP.over(
            sums.latency_s[rows],
            sums.uncertainty[rows],
            self.searched.features([networks[row] for row in rows]),
        )
        learnt = rows < len(self.seen)
        posterior = model.fit(self._observed(model.features[learnt], rows[learnt])).posterior(
            model.features[~learnt], "target"
        )
        return _told([networks[row] for row in rows[~learnt]], posterior, "kernels")

    def _by_networks(self, rest: Sequence[Network]) -> dict[Network, Predicted]:
        if len(self.seen) < metrics.FEWEST:
            raise UsageError(
                f"{len(self.seen)} networks of {self.searched.name} were measured on "
                f"{self.device.name}, and none of its kernels: too little to predict from; "
                + _next_step(self.device, self.searched.name)
            )
        size = min(self.searched.size, POOL)
        pool = self.searched.sample(size, np.random.default_rng(0))
        measured = [m.network for m in self.seen]
        networks = list(dict.fromkeys([*pool, *measured, *rest]))
        row = {network: i for i, network in enumerate(networks)}
        model = predictor(self.searched, networks, len(pool))
        seen = self._observed(model.features[[row[n] for n in measured]], np.arange(len(measured)))
        features = model.features[[row[n] for n in rest]]
        return _told(rest, model.fit(seen).posterior(features, "target"), "networks")

    def _observed(self, features: FloatArray, rows: Any) -> Observations:
        latency_s = np.array([self.seen[row].latency_s for row in rows])
        return Observations.of_one("target", features, latency_s)

    def _explained(self, found: Mapping[Network, Predicted]) -> dict[Network, Predicted]:
        return {n: replace(p, kernels=shares(self.store, self.device, n)) for n, p in found.items()}


def shares(store: Store, device: Device, network: Network) -> tuple[KernelShare, ...]:
    """What a network's time goes into, most first; nothing where no kernel was timed."""
    from farm.compile import alone
    from farm.prediction.kernel_times import calls, times

    called = calls(store, network.space, [network], device.spec.batch)
    found = times(store, store.facts(device.name)[-1], called.definitions)
    if found is None or not set(called.definitions) <= set(found.times):
        return ()
    counts = dict(zip(called.definitions, called.counts[0], strict=True))
    total_s = sum(n * found.times[code].latency_s for code, n in counts.items()) + found.entry_s[0]
    each = [
        KernelShare(
            kernel=code,
            name=alone.defined(text).name,
            calls=int(counts[code]),
            latency_s=found.times[code].latency_s,
            share=counts[code] * found.times[code].latency_s / total_s,
            source="measured" if found.times[code].measured else "predicted",
        )
        for code, text in called.definitions.items()
    ]
    entry_s = found.entry_s[0]
    last = KernelShare(ENTRY, ENTRY, 1, entry_s, entry_s / total_s, "measured")
    return tuple(sorted([*each, last], key=lambda kernel: -kernel.share))


def _cached(m: Measurement) -> Predicted:
    return Predicted(m.network, m.latency_s, *m.interval_s, "cached")


def _told(
    networks: Sequence[Network], posterior: Posterior, source: str
) -> dict[Network, Predicted]:
    low_s, high_s = posterior.interval_s()
    rows = zip(networks, posterior.latency_s, low_s, high_s, strict=True)
    return {n: Predicted(n, float(p), float(low), float(high), source) for n, p, low, high in rows}


def _next_step(device: Device, searched: str) -> str:
    named = "onnx:FOLDER" if searched == ONNX else searched
    return f"`farm launch --space {named} --devices {device.name} --budget 10` measures some"
