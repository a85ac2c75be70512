"""How networks are asked about, and what has to be measured for the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farm.campaign.query import Outcomes, Wanted, barred
from farm.core.errors import UnknownName, UsageError
from farm.core.values import Network
from farm.inventory.config import Device
from farm.prediction.batch import Batch
from farm.spaces.sizes import Sizes
from farm.store import Store

MEASURE = ("never", "missing", "always")

AT_ONCE = 8
"""Networks of a device that are measured before the others' intervals are looked at again; as many
as it measures together."""

Errors = Callable[[Sequence[Network], float | None], NDArray[np.float64]]
"""(N, D): how far what is known of networks of one space on each device may be off, relative, half
the 95 % interval; infinite for nothing. Without a limit it is 0 for whatever was measured."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """How networks are asked about.

    measure: `never`, only what is `missing` in the store, or `always`. max_error: measure only
        where the 95 % interval of what is known or predicted is wider than that to either side,
        relative, widest first; what is narrowed by others being measured is left alone.
    executor: what carries the measuring out, `inline` or `ray`.
    shape: of an .onnx file's inputs, such as `1,3,224,224` or `ids=1x128,mask=1x128`, or of its
        axes, such as `seq=128`, where the file leaves them open.
    batch: of a file's open first axes; without it each device measures its own.
    Raises UnknownName and UsageError.
    """

    measure: str = "never"
    max_error: float | None = None
    executor: str = "inline"
    shape: str | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.measure not in MEASURE:
            raise UnknownName("way to measure", self.measure, MEASURE)
        if self.max_error is None:
            return
        if self.measure != "missing":
            raise UsageError(
                "--max-error says where to measure, which needs --measure missing, got --measure "
                f"{self.measure}; leave one of the two out"
            )
        if not self.max_error > 0:
            raise UsageError(f"--max-error must be positive, got {self.max_error:g}")

    @property
    def sizes(self) -> Sizes:
        """Of a file's inputs."""
        return Sizes(self.shape, self.batch)


@dataclass(frozen=True, eq=False)
class Asking:
    """Measures what an answer needs, on some devices. measure: what carries that out."""

    ask: Ask
    devices: Sequence[Device]
    store: Store
    measure: Callable[[Wanted], Outcomes]

    def measured(self, batch: Batch, errors: Errors) -> Outcomes:
        """What came of measuring what is not known, or not well enough; that a device is in
        quarantine is a Failure."""
        found: Outcomes = {device.name: {} for device in self.devices}
        if self.ask.measure == "never":
            return found
        self.store.models.keep(batch.models)
        at_once = None if self.ask.max_error is None else AT_ONCE
        while wanted := self._left(self._wanted(batch, errors), found):
            part = {name: own[:at_once] for name, own in wanted.items()}
            free = {n: own for n, own in part.items() if self.store.quarantined(n) is None}
            came = self.measure(free) if free else {}
            for name in part.keys() - free.keys():
                refused = {n: barred(n, name, self.store) for n in wanted[name]}
                came[name] = {n: failure for n, failure in refused.items() if failure is not None}
            for name, outcomes in came.items():
                found[name] |= outcomes
            if at_once is None:
                break
        return found

    @staticmethod
    def _left(wanted: Wanted, found: Outcomes) -> dict[str, list[Network]]:
        """Without what was measured, or tried to be, for this question."""
        left = {name: [n for n in own if n not in found[name]] for name, own in wanted.items()}
        return {name: own for name, own in left.items() if own}

    def _wanted(self, batch: Batch, errors: Errors) -> dict[str, list[Network]]:
        """The networks to measure on each device, least known first."""
        limit = self.ask.max_error
        worst: dict[str, list[tuple[float, Network]]] = {d.name: [] for d in self.devices}
        for own in batch.by_space.values():
            networks = list(dict.fromkeys(own.values()))
            try:
                known = errors(networks, limit)
            except UsageError:
                continue  # which is said in the rows of these networks
            if self.ask.measure == "always":
                known = np.full_like(known, np.inf)
            for name, column in zip(worst, known.T, strict=True):
                rows = np.flatnonzero(column > (limit or 0.0))
                worst[name] += [(float(column[row]), networks[row]) for row in rows]
        each = {name: sorted(own, key=lambda one: -one[0]) for name, own in worst.items()}
        return {name: [network for _, network in own] for name, own in each.items() if own}
