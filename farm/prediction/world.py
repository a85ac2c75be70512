"""Networks that are looked at together, and the reference devices that are predicted for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from farm.core.values import Network
from farm.prediction.columns import Column
from farm.prediction.features import Described, Encoder, Reference, features
from farm.prediction.selection import Candidates
from predictors import FloatArray

if TYPE_CHECKING:
    from predictors.encodings.hwl import Normalisation

Key = tuple[str, int, int]
"""Of what is known of a device, see `Column.key`."""


@dataclass(frozen=True, eq=False)
class World:
    """Networks that are encoded together, the pool of the candidates first.

    made: the references that were fitted, by what is known of each. filled: what they say of all
    networks, (N,) seconds.
    """

    encoder: Encoder
    described: Described
    row: Mapping[Network, int]
    made: dict[Key, Reference | None]
    filled: dict[Key, FloatArray]

    @classmethod
    def of(cls, about: Candidates) -> World:
        encoder = Encoder.of(about.searched, about.pool)
        return cls(encoder, encoder.pool, _rows(about.pool), {}, {})

    def with_more(self, networks: Sequence[Network]) -> World:
        """The same with other networks after them."""
        described = self.described + self.encoder.describe(networks)
        return World(self.encoder, described, _rows(described.networks), self.made, {})

    @property
    def networks(self) -> tuple[Network, ...]:
        return self.described.networks

    def reference(self, found: Column) -> Reference | None:
        """None where too little is known."""
        if found.key not in self.made:
            self.made[found.key] = self.encoder.reference(found)
        return self.made[found.key]

    def latency_s(self, key: Key, reference: Reference) -> FloatArray:
        """(N,), of all networks on a reference."""
        if key not in self.filled:
            self.filled[key] = reference.latency_s(self.described)
        return self.filled[key]


def _rows(networks: Sequence[Network]) -> dict[Network, int]:
    return {network: row for row, network in enumerate(networks)}


@dataclass(frozen=True, eq=False)
class HWL:
    """HWL as models see it. names: (R,) devices. values: (N, R), of a world's networks. spread:
    (R,), of square roots of latency around the typical one."""

    names: tuple[str, ...]
    values: FloatArray
    spread: FloatArray
    encoder: Encoder
    references: tuple[Reference, ...]
    scale: Normalisation

    @classmethod
    def of(
        cls,
        world: World,
        known: Sequence[tuple[Key, Reference]],
        fixed: Mapping[str, Normalisation],
    ) -> HWL:
        """fixed: of devices of the reference set; any other is normalised over the pool."""
        from predictors.encodings.hwl import Normalisation

        names = tuple(key[0] for key, _ in known)
        none = np.empty((len(world.networks), 0))
        latency_s = np.column_stack([none, *(world.latency_s(*one) for one in known)])
        pool = latency_s[: len(world.encoder.pool.networks)]
        own = [
            fixed.get(name) or Normalisation.fit(column[:, None])
            for name, column in zip(names, pool.T, strict=True)
        ]
        scale = Normalisation.together(own)
        references = tuple(reference for _, reference in known)
        values = scale.values(latency_s)
        return cls(names, values, scale.scale, world.encoder, references, scale)

    def encode(self, networks: Sequence[Network]) -> FloatArray:
        """(M, F), of any networks, as a model sees them."""
        asked = self.encoder.describe(networks)
        none = np.empty((len(networks), 0))
        latency_s = np.column_stack([none, *(r.latency_s(asked) for r in self.references)])
        return features(self.scale.values(latency_s), asked)
