"""What is known of the devices of a reference set, ready to encode networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from farm.core.values import Network
from farm.measurement.estimator import Z_95
from farm.measurement.record import Failure, Measurement
from farm.prediction.encoding import Encoding, ReferenceLatency, entry
from farm.prediction.features import Encoder, Reference
from farm.store import ReferenceSet
from predictors import FloatArray

Predicted = tuple[Sequence[Reference | None], Encoder | None]
"""What each device would take for any network, and what describes networks to them; see
`farm.prediction.central.CentralPredictor.references`."""

Fresh = Mapping[str, Mapping[Network, Measurement | Failure]]
"""What came of measuring networks now, by device."""


@dataclass(frozen=True, eq=False)
class KnownReferences:
    """cached: what was measured on each device, in the set's order. predicted: asked for only where
    something was not measured."""

    references: ReferenceSet
    cached: Sequence[Mapping[Network, Measurement]]
    predicted: Callable[[], Predicted]

    def encode(self, networks: Sequence[Network], fresh: Fresh | None = None) -> Encoding:
        """HWL of networks of the set's space: measured where that is known, else predicted. fresh:
        of these networks or more."""
        shape = (len(networks), len(self.references.devices))
        latency_s, log_std = np.full(shape, np.nan), np.full(shape, np.nan)
        known: dict[tuple[int, int], ReferenceLatency] = {}
        rows: dict[Network, list[int]] = {}
        for row, network in enumerate(networks):
            rows.setdefault(network, []).append(row)
        each = zip(self.references.devices, self.cached, strict=True)
        for column, (name, cached) in enumerate(each):
            own = (fresh or {}).get(name, {})
            for network in rows.keys() & (cached.keys() | own.keys()):
                found, old = own.get(network), cached.get(network)
                said = entry(name, found, old)
                known.update(((row, column), said) for row in rows[network])
                m = found if isinstance(found, Measurement) else old
                if m is not None:
                    latency_s[rows[network], column] = m.latency_s
                    log_std[rows[network], column] = m.half_width / Z_95
        self._predict(networks, latency_s, log_std)
        return Encoding(tuple(networks), self.references, latency_s, log_std, known)

    def _predict(
        self, networks: Sequence[Network], latency_s: FloatArray, log_std: FloatArray
    ) -> None:
        """Fills in what was not measured, where enough else was."""
        unknown = np.isnan(latency_s)
        wanted = np.flatnonzero(unknown.any(axis=1))
        if not len(wanted):
            return
        found, encoder = self.predicted()
        if encoder is None:
            return
        asked = encoder.describe([networks[int(row)] for row in wanted])
        for column, reference in enumerate(found):
            here = unknown[wanted, column]
            if reference is not None and here.any():
                predicted_s, std = reference.belief(asked)
                latency_s[wanted[here], column] = predicted_s[here]
                log_std[wanted[here], column] = std[here]
