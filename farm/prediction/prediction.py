"""Latencies of any networks on one device: measured before, or predicted with an interval, and the
kernels that they are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from farm.core.errors import UsageError
from farm.core.values import GivenInput, Network
from farm.inventory.config import Device, FarmConfig
from farm.measurement.record import Failure, Measurement
from farm.prediction.batch import Answers, Batch
from farm.prediction.central import CentralPredictor, DeviceModel
from farm.prediction.encoding import inputs_json
from farm.prediction.hwl import look_up, stored_errors
from farm.prediction.references import Meant
from farm.prediction.selection import Candidates
from farm.spaces import space
from farm.spaces.base import ONNX, SearchSpace
from farm.store import Store
from predictors import FloatArray

if TYPE_CHECKING:
    from farm.spaces.onnx.files import OnnxFiles

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

    source: `measured` for this question; `cached`, it was measured before; `kernels`, predicted
    from their times and from measured networks; `networks`, from measured networks alone.
    verdict: what a measurement is worth, see `farm.measurement.verdict`.
    reason: why it was not measured, where it was to be.
    inputs: what it is measured with, where a file and not a search space says it.
    """

    network: Network
    meant: Meant
    latency_s: float
    low_s: float
    high_s: float
    source: str
    verdict: str | None = None
    reason: str | None = None
    inputs: tuple[GivenInput, ...] = ()
    kernels: tuple[KernelShare, ...] = ()

    @property
    def measured(self) -> bool:
        return self.source in ("measured", "cached")

    def to_json(self) -> dict[str, Any]:
        own = self.to_row()
        own["high_s"] = self.high_s if self.high_s != np.inf else None  # of a single session
        reason = {"reason": self.reason} if self.reason else {}
        kernels = {"kernels": [vars(kernel) for kernel in self.kernels]} if self.kernels else {}
        inputs = inputs_json(self.inputs)
        return {**own, "measured": self.measured, **reason, **inputs, **kernels}

    def to_row(self) -> dict[str, Any]:
        names = ("latency_s", "low_s", "high_s", "source", "verdict")
        own = {name: getattr(self, name) for name in names}
        return {"network": self.network.id, **own, **vars(self.meant)}


@dataclass(frozen=True, eq=False)
class Predictions:
    """In the order in which they were asked for. learnt: measured networks of the same search
    spaces that they were predicted from; timed: kernels; 0 where nothing was predicted."""

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


@dataclass(frozen=True, eq=False)
class Asked:
    """What is known of a device when networks are asked about.

    models: ONNX files by their codes. predictor: of the store; it learns of outcomes as they come.
    """

    store: Store
    config: FarmConfig
    device: Device
    models: Mapping[str, bytes]
    predictor: CentralPredictor

    def errors(self, networks: Sequence[Network], limit: float | None) -> FloatArray:
        """(N, 1), as `farm.campaign.asking.Errors`."""
        if limit is None:
            return stored_errors(self.store, self.predictor, networks, [self.device])
        found, _ = self._about(networks).predicted(networks)
        each = [
            found[n].high_s / found[n].latency_s - 1 if n in found else np.inf for n in networks
        ]
        return np.array(each)[:, None]

    def answers(
        self, batch: Batch, fresh: Mapping[Network, Measurement | Failure], explain: bool = False
    ) -> Predictions:
        """What networks take, as far as the store and published tables tell. One that cannot be
        predicted says why, in its row.

        fresh: what came of measuring some of them now.
        Raises UsageError where nothing was measured on the device.
        """
        from farm.compile import alone
        from farm.prediction.kernel_times import timed

        facts = self.store.facts(self.device.name)
        if not facts:
            space = next(iter(batch.by_space), "nb201")
            raise UsageError(
                next((_reason(one) for one in fresh.values() if isinstance(one, Failure)), "")
                or f"nothing was measured on {self.device.name} yet; "
                + _next_step(self.device, space)
            )

        def answer(networks: Sequence[Network]) -> Iterator[Predicted | str]:
            found, lacking = self._about(networks).predicted(networks, fresh)
            if explain:
                found = {
                    n: replace(p, kernels=shares(self.store, self.device, n))
                    for n, p in found.items()
                }
            return (found.get(n) or lacking[n] for n in networks)

        answers = Answers.of(batch, answer)
        if all(one.measured for one in answers.found.values()):
            return Predictions(self.device.name, answers, 0, 0)
        learnt = sum(self.predictor.learnt(name, self.device.name) for name in batch.by_space)
        kernels = sum(not code.endswith(alone.ONCE) for code in timed(self.store, facts[-1], {}))
        return Predictions(self.device.name, answers, learnt, kernels)

    def _about(self, networks: Sequence[Network]) -> _About:
        searched = space(networks[0].space, self.models)
        return _About(self.store, self.predictor, self.device, searched)


@dataclass(frozen=True, eq=False)
class _About:
    """What is known of one search space on a device."""

    store: Store
    predictor: CentralPredictor
    device: Device
    searched: SearchSpace

    def predicted(
        self,
        networks: Iterable[Network],
        fresh: Mapping[Network, Measurement | Failure] | None = None,
    ) -> tuple[dict[Network, Predicted], dict[Network, str]]:
        """What there is to say of networks, and why there is nothing of the others."""
        asked = list(dict.fromkeys(networks))
        came = {n: (fresh or {}).get(n) for n in asked}
        cached = look_up(self.store, self.predictor, asked, self.device)
        known = {n: self._told(cached[n], "cached") for n in asked if n in cached}
        known |= {
            n: self._told(m, "measured") for n, m in came.items() if isinstance(m, Measurement)
        }
        rest = [n for n in asked if n not in known]
        found = known | self._predicted(rest)
        reasons = {n: _reason(m) for n, m in came.items() if isinstance(m, Failure)}
        said = {
            n: replace(p, reason=reasons.get(n), inputs=self._inputs(n)) for n, p in found.items()
        }
        lacking = [n for n in rest if n not in found]
        why = self._too_little() if lacking else ""
        return said, {n: "; ".join(filter(None, (reasons.get(n), why))) for n in lacking}

    def _inputs(self, network: Network) -> tuple[GivenInput, ...]:
        if network.space != ONNX:
            return ()
        return cast("OnnxFiles", self.searched).inputs(network, self.device.spec.batch)

    def _predicted(self, rest: Sequence[Network]) -> dict[Network, Predicted]:
        """Those of some networks that can be predicted."""
        if not rest:
            return {}
        found: dict[Network, Predicted] = {}
        planned = self._planned(rest)
        if planned:
            none = Candidates(self.searched, (), (), frozenset())
            batch = self.device.spec.batch
            model = self.predictor.model(none, self.device.name, batch, planned)
            found |= self._believed(model, planned)
        rest = [n for n in rest if n not in found]
        if rest:
            about = self.predictor.whole(self.searched)
            model = self.predictor.model(about, self.device.name, None, rest)
            if model.can_tell:
                found |= self._believed(model, rest)
        return found

    def _too_little(self) -> str:
        learnt = self.predictor.learnt(self.searched.name, self.device.name)
        return (
            f"{learnt} networks of {self.searched.name} were measured on {self.device.name}, and "
            "none of its kernels: too little to predict from; "
            + _next_step(self.device, self.searched.name)
        )

    @cached_property
    def _meant(self) -> Meant:
        return Meant.now(self.store, self.device)

    def _told(self, m: Measurement, source: str) -> Predicted:
        return Predicted(m.network, self._meant, m.latency_s, *m.interval_s, source, m.verdict)

    def _believed(
        self, model: DeviceModel, networks: Sequence[Network]
    ) -> dict[Network, Predicted]:
        posterior = model.posterior(model.rows(networks))
        low_s, high_s = posterior.interval_s()
        return {
            network: Predicted(
                network, self._meant, float(latency_s), float(low), float(high), model.source
            )
            for network, latency_s, low, high in zip(
                networks, posterior.latency_s, low_s, high_s, strict=True
            )
        }

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


def _reason(failure: Failure) -> str:
    return f"{failure.kind}: {failure.message}"


def _next_step(device: Device, searched: str) -> str:
    named = "onnx:FOLDER" if searched == ONNX else searched
    return f"`farm launch --space {named} --devices {device.name} --budget 10` measures some"
