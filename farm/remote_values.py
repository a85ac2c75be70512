"""What a service answers, as the farm's own values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from farm.core.errors import ServiceError, UsageError
from farm.core.values import GivenInput, Network

if TYPE_CHECKING:
    from farm.prediction.prediction import Predicted
    from farm.store.events import Event

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RemoteEncoding:
    """HWL of N networks on R reference devices, as `farm.prediction.encoding.Encoding` has it.

    latency_s, values, std: (N, R) float64, NaN where nothing is known. source: (N, R), as there.
    rows: of each network, as `farm hwl --json` prints it.
    """

    networks: tuple[Network, ...]
    devices: tuple[str, ...]
    version: str
    rows: tuple[Mapping[str, Any], ...]

    @cached_property
    def values(self) -> FloatArray:
        return _array(row["values"] for row in self.rows)

    @cached_property
    def std(self) -> FloatArray:
        return _array(row["std"] for row in self.rows)

    @cached_property
    def latency_s(self) -> FloatArray:
        return _array([one["latency_s"] for one in row["references"]] for row in self.rows)

    @property
    def source(self) -> NDArray[np.str_]:
        return np.array([[one["source"] or "" for one in row["references"]] for row in self.rows])


@dataclass(frozen=True)
class RemoteRow:
    """One network's HWL encoding, as `farm.prediction.encoding.NetworkEncoding` tells it."""

    row: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return dict(self.row)

    def to_row(self) -> dict[str, Any]:
        from farm.prediction.encoding import row_of

        return row_of(self.row)


def events(lines: Iterator[bytes]) -> Iterator[Event | None]:
    """The events of a stream; None for what only says that it lives."""
    from farm.store.events import Event

    for line in lines:
        if line.startswith(b":"):
            yield None
        if line.startswith(b"data: "):
            try:
                told = json.loads(line.removeprefix(b"data: "))
                event = Event(**{one.name: told[one.name] for one in fields(Event)})
            except (ValueError, KeyError, TypeError):
                raise ServiceError("what answers sends no events of a farm") from None
            yield event


def parted(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[dict[int, str], dict[int, Mapping[str, Any]]]:
    """What is wrong with some rows, and the others."""
    wrong = {i: str(row["error"]) for i, row in enumerate(rows) if row.get("error")}
    return wrong, {i: row for i, row in enumerate(rows) if i not in wrong}


def predicted(row: Mapping[str, Any]) -> Predicted:
    """The inverse of `Predicted.to_json`."""
    from farm.prediction.prediction import KernelShare, Predicted
    from farm.prediction.references import Meant

    meant = Meant(row["device"], row["revision"], row["batch"], row["flush_bytes"])
    return Predicted(
        network=Network.from_id(row["network"]),
        meant=meant,
        latency_s=row["latency_s"],
        low_s=row["low_s"],
        high_s=np.inf if row["high_s"] is None else row["high_s"],
        source=row["source"],
        verdict=row["verdict"],
        reason=row.get("reason"),
        inputs=tuple(_inputs(row)),
        kernels=tuple(KernelShare(**kernel) for kernel in row.get("kernels", ())),
    )


def _inputs(row: Mapping[str, Any]) -> Iterator[GivenInput]:
    for one in row.get("inputs", ()):
        yield GivenInput(one["name"], one["type"], tuple(one["shape"]))


def encoding(rows: tuple[Mapping[str, Any], ...]) -> RemoteEncoding:
    """Raises UsageError where versions differ."""
    versions = sorted({row["version"] for row in rows})
    if len(versions) > 1:
        raise UsageError(
            f"encodings of one version can be mixed, got {versions[0]} and {versions[1]}; ask for "
            "one search space at a time"
        )
    networks = tuple(Network.from_id(row["network"]) for row in rows)
    devices = tuple(one["device"] for one in rows[0]["references"])
    return RemoteEncoding(networks, devices, versions[0], rows)


def _array(rows: Iterator[Sequence[float | None]]) -> FloatArray:
    """(N, R) float64, NaN for None."""
    return np.array(list(rows), dtype=float)
