"""Latencies of any networks on one device: measured before, or predicted with an interval, and the
kernels that they are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from farm.core.errors import UsageError
from farm.core.values import Network
from farm.inventory.config import Device, FarmConfig
from farm.measurement.record import Measurement
from farm.prediction.batch import Answers, Batch
from farm.prediction.central import CentralPredictor, DeviceModel
from farm.prediction.hwl import look_up
from farm.prediction.selection import Candidates
from farm.spaces import space
from farm.spaces.base import ONNX, SearchSpace
from farm.store import Store
from predictors import FloatArray, metrics

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

    def to_row(self) -> dict[str, Any]:
        names = ("latency_s", "low_s", "high_s", "source")
        return {"network": self.network.id, **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True, eq=False)
class Predictions:
    """In the order in which they were asked for. learnt: measured networks of the same search
    spaces that they were predicted from; timed: kernels."""

    device: str
    answers: Answers[Predicted]
    learnt: int
    timed: int

    @cached_property
    def networks(self) -> tuple[Predicted, ...]:
        """Those that there is an answer for."""
        return tuple(self.answers)

    @property
    def latency_s(self) -> FloatArray:
        """(N,) seconds, of `networks`."""
        return self._array("latency_s")

    @property
    def low_s(self) -> FloatArray:
        """(N,) seconds, the low ends of the 95 % intervals."""
        return self._array("low_s")

    @property
    def high_s(self) -> FloatArray:
        """(N,) seconds, the high ends."""
        return self._array("high_s")

    def to_pandas(self) -> Any:
        """As `Answers.to_pandas`: a row for each network that was asked for."""
        return self.answers.to_pandas()

    def _array(self, name: str) -> FloatArray:
        return np.array([getattr(one, name) for one in self.networks])

    def to_json(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "networks": list(self.answers.lines()),
            "learnt": self.learnt,
            "kernels": self.timed,
        }


def predict(
    store: Store, config: FarmConfig, device: Device, batch: Batch, explain: bool = False
) -> Predictions:
    """What networks take on a device, as far as the store and published tables tell. Measures
    nothing. One that cannot be predicted says why, in its row.

    Raises UsageError where nothing was measured on the device.
    """
    facts = store.facts(device.name)
    if not facts:
        spaces = [*batch.by_space, "nb201"]
        raise UsageError(
            f"nothing was measured on {device.name} yet; {_next_step(device, spaces[0])}"
        )
    from farm.compile import alone
    from farm.prediction.kernel_times import timed

    predictor = CentralPredictor.of(store, config)

    def answer(networks: Sequence[Network]) -> Iterator[Predicted]:
        about = _About(store, predictor, device, space(networks[0].space, store.models))
        found = about.predicted(list(dict.fromkeys(networks)))
        if explain:
            found = {n: replace(p, kernels=shares(store, device, n)) for n, p in found.items()}
        return (found[n] for n in networks)

    answers = Answers.of(batch, answer)
    learnt = sum(predictor.learnt(name, device.name) for name in batch.by_space)
    kernels = sum(not code.endswith(alone.ONCE) for code in timed(store, facts[-1], {}))
    return Predictions(device.name, answers, learnt, kernels)


@dataclass(frozen=True, eq=False)
class _About:
    """What is known of one search space on a device."""

    store: Store
    predictor: CentralPredictor
    device: Device
    searched: SearchSpace

    def predicted(self, networks: Sequence[Network]) -> dict[Network, Predicted]:
        cached = look_up(self.store, self.predictor, networks, self.device)
        rest = [n for n in networks if n not in cached]
        planned = self._planned(rest)
        found = {n: _cached(m) for n, m in cached.items()}
        if planned:
            none = Candidates(self.searched, (), (), frozenset())
            batch = self.device.spec.batch
            model = self.predictor.model(none, self.device.name, batch, planned)
            found |= _told(model, planned)
        rest = [n for n in rest if n not in found]
        if rest:
            about = self.predictor.whole(self.searched)
            model = self.predictor.model(about, self.device.name, None, rest)
            if len(model.seen) < (1 if model.references else metrics.FEWEST):
                raise UsageError(
                    f"{len(model.seen)} networks of {self.searched.name} were measured on "
                    f"{self.device.name}, and none of its kernels: too little to predict from; "
                    + _next_step(self.device, self.searched.name)
                )
            found |= _told(model, rest)
        return found

    def _planned(self, rest: Sequence[Network]) -> list[Network]:
        """Those whose kernels' times are known."""
        from farm.prediction.kernel_times import kernel_sums

        sums = kernel_sums(self.store, self.device.name, rest, self.device.spec.batch)
        if sums is None:
            return []
        return [n for n, s in zip(rest, sums.latency_s, strict=True) if np.isfinite(s)]


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


def _told(model: DeviceModel, networks: Sequence[Network]) -> dict[Network, Predicted]:
    posterior = model.posterior(model.rows(networks))
    low_s, high_s = posterior.interval_s()
    rows = zip(networks, posterior.latency_s, low_s, high_s, strict=True)
    source = model.source
    return {n: Predicted(n, float(p), float(low), float(high), source) for n, p, low, high in rows}


def _next_step(device: Device, searched: str) -> str:
    named = "onnx:FOLDER" if searched == ONNX else searched
    return f"`farm launch --space {named} --devices {device.name} --budget 10` measures some"
