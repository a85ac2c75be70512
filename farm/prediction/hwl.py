"""The HWL encoding of a network: its latencies on the reference devices.

After Multi-Predict (Akhauri & Abdelfattah, arXiv 2306.02459), section 3.2: L maps a network to one
normalised latency for each reference device, whatever search space it is from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from farm.core.values import GivenInput, Network, digest
from farm.inventory.config import Device
from farm.measurement.record import Failure, Measurement, MeasureSpec
from farm.store import Store

FEWEST_TO_NORMALISE = 3
"""Fewer measurements of a device say nothing about its spread."""


@dataclass(frozen=True)
class ReferenceLatency:
    """A network on one reference device, in seconds, with its 95 % interval.

    source: `measured` for this query, or `cached` in the store before it.
    verdict: what the measurement is worth, see `farm.measurement.verdict`.
    latency_s: None where the network was not measured on the device, or failed there.
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


def _inputs_json(inputs: Sequence[GivenInput]) -> dict[str, Any]:
    """inputs: of a file; none for a network of a search space, which says its own."""
    return {"inputs": [one.to_json() for one in inputs]} if inputs else {}


@dataclass(frozen=True)
class Normalisation:
    """(ln latency - mean) / std, fitted on the networks that campaigns learnt from; or, where a
    reference has too few, ln latency as it is. Means and deviations in log-seconds.

    networks: how many measurements of each reference it was fitted on.
    """

    kind: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    networks: tuple[int, ...]

    @property
    def version(self) -> str:
        """Encodings of one version can be compared; of two they cannot."""
        numbers = [self.mean, self.std]
        return f"{self.kind}-{digest(numbers)[:12]}"


@dataclass(frozen=True)
class Encoding:
    """An HWL vector: R references in order. values: (R,), NaN where the mask is false.

    remarks: what a person should know of these latencies, in a sentence each.
    """

    network: Network
    references: tuple[ReferenceLatency, ...]
    normalisation: Normalisation
    remarks: tuple[str, ...] = ()

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

    @property
    def values(self) -> tuple[float, ...]:
        latency_s = [r.latency_s if r.latency_s else np.nan for r in self.references]
        n = self.normalisation
        scaled = (np.log(latency_s) - np.array(n.mean)) / np.array(n.std)
        return tuple(float(value) for value in scaled.astype(np.float32))

    def to_json(self) -> dict[str, Any]:
        return {
            "network": self.network.id,
            **_inputs_json(self.inputs),
            **({"remarks": list(self.remarks)} if self.remarks else {}),
            "references": [
                {
                    "device": r.device,
                    "latency_s": r.latency_s,
                    "low_s": r.low_s,
                    "high_s": r.high_s if r.high_s != np.inf else None,
                    "source": r.source,
                    "samples": r.samples,
                    "verdict": r.verdict,
                    **({"reason": r.reason} if r.reason else {}),
                    **_inputs_json(r.inputs),
                }
                for r in self.references
            ],
            "values": [
                v if known else None for v, known in zip(self.values, self.mask, strict=True)
            ],
            "mask": list(self.mask),
            "normalisation": {
                "kind": self.normalisation.kind,
                "networks": list(self.normalisation.networks),
            },
            "version": self.normalisation.version,
        }


def normalisation(store: Store, references: Sequence[str]) -> Normalisation:
    """Fit on what campaigns learnt from on the references; never on held-out networks, and only on
    what holds on the devices as they were last seen, as `known` does."""
    found = [store.measurements(device=device, purpose="learn") for device in references]
    logs = [np.log([m.latency_s for m in store.as_now(learnt)]) for learnt in found]
    counts = tuple(len(values) for values in logs)
    if min(counts, default=0) < FEWEST_TO_NORMALISE or any(np.ptp(v) == 0 for v in logs):
        ones = (1.0,) * len(references)
        return Normalisation("log-seconds", (0.0,) * len(references), ones, counts)
    mean, std = (tuple(float(f(values)) for values in logs) for f in (np.mean, np.std))
    return Normalisation("standardised-log", mean, std, counts)


def known(store: Store, network: Network, device: Device) -> Measurement | None:
    """The newest measurement of `network` on `device` that holds as the device was last seen.

    One under an older fingerprint is of another device, so to say, and counts only where control
    networks showed that it still holds (`farm.store.Revision`). One of another batch size, or with
    caches in another state, is another quantity.
    """
    found = store.as_now(store.measurements(device=device.name, network=network))
    current = [m for m in found if quantity(m.spec) == quantity(device.spec)]
    return current[-1] if current else None


def quantity(spec: MeasureSpec) -> tuple[int, int]:
    """What of a spec says which latency is measured; the rest says how well."""
    return spec.quantity


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
