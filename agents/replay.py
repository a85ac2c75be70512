"""A published latency table as a device: whole campaigns run in seconds, against known truth.

A table is a `.npz` file with `devices` (D,), `latency_ms` (D, N) in milliseconds, and the networks'
codes: `arch_str` (N,), or `ops` (N, P) whose rows, digits in a row, are the codes.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from agents.started import StartedAgent
from farm.core.errors import DeviceUnfit, MeasureTimeout, blaming
from farm.core.values import DeviceFacts, Network
from farm.measurement.record import Block, Job, MeasureSpec, Session

SPACES = {"fbnet": "fbnet32"}
"""The search space of a published table, where that is not its file name: FBNet's is for CIFAR."""

_DEFAULT_FOLDER = Path(__file__).parents[1].parent / "shared" / "data"


class ReplayOptions(BaseModel):
    """A column of a table.

    table: `nb201` is nb201.npz in $FARM_DATA, else in ../shared/data; or the path of a file.
    column: the device in the table; by default the one with this device's name.
    space: the search space of the table's networks; by default the one that the file is named for.
    noise: relative. Each round is off by a log-normal factor of this width, as a host's moods are,
        and each sample in it is slower by the same width, one-sided. 0 gives the table's values.
    seed: of the noise.
    speed_up: how much faster than its original the device is; by default it takes no time at all.
        What is recorded as device seconds is the original's time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    table: str = "nb201"
    column: str | None = None
    space: str | None = None
    noise: float = Field(0.005, ge=0, le=1)
    seed: int = 0
    speed_up: float | None = Field(None, gt=0)


@dataclass(frozen=True, eq=False)
class Table:
    """row_of: by code; latency_s: (D, N) float64; digest: of the file's bytes."""

    devices: tuple[str, ...]
    row_of: Mapping[str, int]
    latency_s: NDArray[np.float64]
    digest: str


def table_path(table: str) -> Path:
    """Where a table is: see `ReplayOptions.table`."""
    if "/" in table or table.endswith(".npz"):
        return Path(table).expanduser()
    return Path(os.environ.get("FARM_DATA") or _DEFAULT_FOLDER) / f"{table}.npz"


def load(path: Path) -> Table:
    """The table in a file, read once as long as the file stays. Raises DeviceUnfit."""
    try:
        return _loaded(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, BadZipFile) as e:
        raise DeviceUnfit(
            f"no latency table in {path}: {_reason(e)}; set FARM_DATA to the folder of the "
            "published tables, or let `table` be the path of a .npz file"
        ) from e


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error).strip("'")


@cache
def _loaded(path: Path, _modified_ns: int) -> Table:
    content = path.read_bytes()
    with np.load(BytesIO(content)) as data:
        devices = tuple(map(str, data["devices"]))
        latency_ms = data["latency_ms"].astype(float)
        codes = _codes(data)
    if latency_ms.shape != (len(devices), len(codes)):
        raise ValueError(
            f"`latency_ms` must have a row for each of {len(devices)} devices and a column for "
            f"each of {len(codes)} networks, got {latency_ms.shape}"
        )
    row_of = {code: row for row, code in enumerate(codes)}
    digest = hashlib.sha256(content).hexdigest()[:16]
    return Table(devices, row_of, latency_ms * 1e-3, digest)


def _codes(data: Any) -> list[str]:
    if "arch_str" in data:
        return [str(code) for code in data["arch_str"]]
    return ["".join(map(str, row)) for row in data["ops"]]


class ReplayAgent(StartedAgent):
    """See `ReplayOptions`. Needs no artifact."""

    options: ClassVar[type[BaseModel]] = ReplayOptions

    def __init__(self, name: str, options: ReplayOptions) -> None:
        super().__init__(name)
        self._options = options
        self._column = options.column or name
        path = table_path(options.table)
        self._path = path
        self._space = options.space or SPACES.get(path.stem, path.stem)

    def facts(self) -> DeviceFacts:
        """See `farm.measurement.agent.Agent.facts`."""
        table = self._table()
        identity = {
            "table": f"{self._path.name} {table.digest}",
            "column": self._column,
            "noise": str(self._options.noise),
            "seed": str(self._options.seed),
        }
        exact = self._options.noise == 0
        return DeviceFacts(self._name, "replay", (), None, identity, exact=exact, space=self._space)

    def session(self, jobs: Sequence[Job], spec: MeasureSpec, number: int) -> list[Session]:
        """See `farm.measurement.agent.Agent.session`."""
        sessions = []
        for index, job in enumerate(jobs):
            with blaming(index):
                sessions.append(self._session(job.network, spec, number))
        return sessions

    def _session(self, network: Network, spec: MeasureSpec, number: int) -> Session:
        latency_s = self._latency_s(network)
        rng = self._rng(network, spec, number)
        runs = max(1, math.ceil(spec.sample_s / latency_s))
        count = max(spec.min_samples, math.ceil(spec.block_s / (runs * latency_s)))
        telemetry = {"published_s": latency_s}
        blocks = tuple(
            Block(self._round(latency_s, count, rng), runs, telemetry) for _ in range(spec.rounds)
        )
        pauses_s = spec.pause_s * (spec.rounds - 1)
        device_s = spec.warmup_s + sum(block.timed_s for block in blocks) + pauses_s
        self._take(device_s, spec.timeout_s)
        return Session(self._round(latency_s, 1, rng), blocks, device_s)

    def _table(self) -> Table:
        """The table, which has our column."""
        self._must_be_started()
        table = load(self._path)
        if self._column not in table.devices:
            offer = _offer(self._column, table.devices)
            raise DeviceUnfit(f"{self._path} has no `column` {self._column!r}; {offer}")
        return table

    def _latency_s(self, network: Network) -> float:
        table = self._table()
        if network.space != self._space or network.code not in table.row_of:
            raise DeviceUnfit(
                f"{self._path} has {len(table.row_of)} networks of {self._space}, and {network.id} "
                "is none of them"
            )
        row = table.devices.index(self._column)
        latency_s = float(table.latency_s[row, table.row_of[network.code]])
        if not 0 < latency_s < math.inf:
            raise DeviceUnfit(f"{self._path} has no latency of {network.id} on {self._column}")
        return latency_s

    def _rng(self, network: Network, spec: MeasureSpec, session: int) -> np.random.Generator:
        text = f"{self._options.seed}/{self._column}/{network.id}/{spec.seed}/{session}"
        return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))

    def _round(self, latency_s: float, count: int, rng: np.random.Generator) -> tuple[float, ...]:
        """(count,) samples, in seconds for a run."""
        mood, *slower = rng.standard_normal(1 + count)
        base_s = latency_s * math.exp(self._options.noise * mood)
        return tuple((base_s * (1 + self._options.noise * np.abs(slower))).tolist())

    def _take(self, device_s: float, timeout_s: float) -> None:
        """Sleeps as long as the device works, where it is asked to."""
        if device_s > timeout_s:
            raise MeasureTimeout(f"no result within {timeout_s:g} s; it takes {device_s:.3g} s")
        if self._options.speed_up is not None:
            time.sleep(device_s / self._options.speed_up)


def _offer(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
