"""The HWL encoding of networks: their latencies on the reference devices.

After Multi-Predict (Akhauri & Abdelfattah, arXiv 2306.02459), section 3.2: L maps a network to one
normalised latency for each reference device, whatever search space it is from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.core.errors import UsageError
from farm.core.values import GivenInput, Network
from farm.measurement.estimator import Z_95
from farm.measurement.record import Failure, Measurement
from farm.prediction.batch import data_frame
from farm.prediction.references import normalisation
from farm.store import ReferenceSet
from predictors import FloatArray


@dataclass(frozen=True)
class ReferenceLatency:
    """A network on one reference device, in seconds, with its 95 % interval.

    source: `measured` for this query, `cached` in the store before it, or `predicted`.
    verdict: what the measurement is worth, see `farm.measurement.verdict`.
    latency_s: None where it is not known.
    reason: why it was not measured.
    inputs: what it is measured with, where a file and not a search space says it.
    """

    device: str
    latency_s: float | None
    low_s: float | None
    high_s: float | None
    source: str | None
    samples: int
    verdict: str | None = None
    reason: str | None = None
    inputs: tuple[GivenInput, ...] = ()


def _in_common(inputs: Sequence[GivenInput]) -> GivenInput:
    """One input as several references have it."""
    first = inputs[0]
    if all(one.shape == first.shape for one in inputs):
        return first
    return replace(first, shape=("batch", *first.shape[1:]))


def inputs_json(inputs: Sequence[GivenInput]) -> dict[str, Any]:
    """inputs: of a file; none for a network of a search space, which says its own."""
    return {"inputs": [one.to_json() for one in inputs]} if inputs else {}


@dataclass(frozen=True)
class NetworkEncoding:
    """One network's HWL vector, R references in order. values, std: (R,), NaN where the mask is
    false.

    by: what it was encoded by. remarks: what a person should know of these latencies, in a sentence
    each.
    """

    network: Network
    references: tuple[ReferenceLatency, ...]
    values: tuple[float, ...]
    std: tuple[float, ...]
    by: ReferenceSet
    remarks: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        return self.by.version

    @property
    def fitted_on(self) -> int:
        """Networks that the normalisation was fitted on."""
        return self.by.fitted_on

    @property
    def mask(self) -> tuple[bool, ...]:
        return tuple(r.latency_s is not None for r in self.references)

    @property
    def inputs(self) -> tuple[GivenInput, ...]:
        """Of a network from a file; with `batch` for the size in which references differ."""
        different = zip(*(r.inputs for r in self.references), strict=True)
        return tuple(_in_common(inputs) for inputs in different)

    @property
    def missing(self) -> Mapping[str, str]:
        """Why there is no value, by reference device."""
        return {r.device: r.reason or "unknown" for r in self.references if r.latency_s is None}

    def to_json(self) -> dict[str, Any]:
        return {
            "network": self.network.id,
            **inputs_json(self.inputs),
            **({"remarks": list(self.remarks)} if self.remarks else {}),
            "references": [
                {
                    "device": r.device,
                    "latency_s": r.latency_s,
                    "low_s": r.low_s,
                    "high_s": None if r.high_s is None else _or_none(r.high_s),
                    "source": r.source,
                    "samples": r.samples,
                    "verdict": r.verdict,
                    "revision": revision or None,
                    "batch": batch,
                    "flush_bytes": flush_bytes,
                    **({"reason": r.reason} if r.reason else {}),
                    **inputs_json(r.inputs),
                }
                for r, revision, (batch, flush_bytes) in zip(
                    self.references, self.by.revisions, self.by.quantities, strict=True
                )
            ],
            "values": [_or_none(value) for value in self.values],
            "std": [_or_none(value) for value in self.std],
            "mask": list(self.mask),
            "fitted_on": self.fitted_on,
            "version": self.version,
        }

    def to_row(self) -> dict[str, Any]:
        return row_of(self.to_json())


def row_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """As a row of a table: of each reference its HWL value, the value's deviation, the latency and
    its source. told: `NetworkEncoding.to_json`."""
    row: dict[str, Any] = {"network": told["network"], "version": told["version"]}
    for of, value, std in zip(told["references"], told["values"], told["std"], strict=True):
        own = {"": value, "_std": std, "_latency_s": of["latency_s"], "_source": of["source"]}
        row |= {f"{of['device']}{name}": what for name, what in own.items()}
    return row


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


@dataclass(frozen=True, eq=False)
class Encoding:
    """HWL of N networks on the R devices of a reference set: what models consume.

    latency_s: (N, R) seconds, NaN where nothing is known. log_std: (N, R), log-seconds, NaN where
        that is not known. known: what a measurement says, or why there is none, by row and column.
    values, std: (N, R) float64, by the set's normalisation.
    """

    networks: tuple[Network, ...]
    references: ReferenceSet
    latency_s: FloatArray
    log_std: FloatArray
    known: Mapping[tuple[int, int], ReferenceLatency]

    @cached_property
    def values(self) -> FloatArray:
        return normalisation(self.references).values(self.latency_s)

    @cached_property
    def std(self) -> FloatArray:
        return normalisation(self.references).std(self.latency_s, self.log_std)

    @property
    def version(self) -> str:
        return self.references.version

    @property
    def source(self) -> NDArray[np.str_]:
        """(N, R): `measured` now, `cached` in the store, `predicted`, or empty for nothing."""
        found = np.where(np.isfinite(self.latency_s), "predicted", "").astype("U9")
        for at, known in self.known.items():
            found[at] = known.source or found[at]
        return found

    def of(self, row: int) -> NetworkEncoding:
        """One network, with all that is known of it."""
        references = tuple(self._entry(row, i) for i in range(len(self.references.devices)))
        values, std = (tuple(map(float, part[row])) for part in (self.values, self.std))
        return NetworkEncoding(self.networks[row], references, values, std, self.references)

    def each(self) -> Iterator[NetworkEncoding]:
        """One network after the other."""
        return map(self.of, range(len(self.networks)))

    def to_pandas(self) -> Any:
        """A pandas.DataFrame, see `NetworkEncoding.to_row`. Raises MissingExtra without pandas."""
        return data_frame(one.to_row() for one in self.each())

    def _entry(self, row: int, column: int) -> ReferenceLatency:
        device = self.references.devices[column]
        known = self.known.get((row, column))
        latency_s = float(self.latency_s[row, column])
        if not np.isfinite(latency_s) or (known is not None and known.latency_s is not None):
            return known or entry(device, None, None)
        known = known or ReferenceLatency(device, None, None, None, None, 0)
        width = float(np.exp(Z_95 * self.log_std[row, column]))
        low_s, high_s = latency_s / width, latency_s * width if latency_s else np.inf
        return replace(known, latency_s=latency_s, low_s=low_s, high_s=high_s, source="predicted")

    @classmethod
    def together(cls, each: Sequence[Encoding]) -> Encoding:
        """The networks of several, in their order. Raises UsageError where versions differ."""
        first = each[0]
        for other in each[1:]:
            if other.version != first.version:
                raise UsageError(
                    f"encodings of one version can be mixed, got {first.version} (of "
                    f"{first.references.space}) and {other.version} (of {other.references.space}); "
                    "encode all networks by one: `farm references use VERSION`"
                )
        starts = np.cumsum([0, *(len(one.networks) for one in each)])
        known = {
            (int(start) + row, column): entry
            for start, one in zip(starts, each, strict=False)
            for (row, column), entry in one.known.items()
        }
        latency_s, log_std = (
            np.concatenate([getattr(one, name) for one in each])
            for name in ("latency_s", "log_std")
        )
        networks = tuple(network for one in each for network in one.networks)
        return cls(networks, first.references, latency_s, log_std, known)


def reference_latency(
    device: str, measurement: Measurement | None, source: str, reason: str | None = None
) -> ReferenceLatency:
    """A measurement, or its absence, as an entry of an encoding."""
    if measurement is None:
        return ReferenceLatency(device, None, None, None, None, 0, reason=reason)
    low_s, high_s = measurement.interval_s
    return ReferenceLatency(
        device=device,
        latency_s=measurement.latency_s,
        low_s=low_s,
        high_s=high_s,
        source=source,
        samples=sum(len(row) for row in measurement.samples_s),
        verdict=measurement.verdict,
        reason=reason,
    )


def entry(
    device: str, fresh: Measurement | Failure | None, cached: Measurement | None
) -> ReferenceLatency:
    """One reference of an encoding: measured now, else from the store, else the reason why not."""
    if isinstance(fresh, Measurement):
        return reference_latency(device, fresh, "measured")
    reason = f"{fresh.kind}: {fresh.message}" if isinstance(fresh, Failure) else None
    if cached is None:
        reason = reason or "not measured yet"
    return reference_latency(device, cached, "cached", reason)
