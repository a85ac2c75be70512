"""A published latency table as a device: whole campaigns run in seconds, against known truth."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from agents.published_table import Table, load, offer, space_of, table_path
from agents.started import StartedAgent
from farm.core.errors import DeviceUnfit, MeasureTimeout, blaming
from farm.core.values import DeviceFacts, Network
from farm.measurement.record import Block, Job, Session
from farm.measurement.spec import MeasureSpec


class ReplayOptions(BaseModel):
    """A column of a table.

    table: see `agents.published_table.table_path`.
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


class ReplayAgent(StartedAgent):
    """See `ReplayOptions`. Needs no artifact."""

    options: ClassVar[type[BaseModel]] = ReplayOptions

    def __init__(self, name: str, options: ReplayOptions) -> None:
        super().__init__(name)
        self._options = options
        self._column = options.column or name
        path = table_path(options.table)
        self._path = path
        self._space = options.space or space_of(path)

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
            near = offer(self._column, table.devices)
            raise DeviceUnfit(f"{self._path} has no `column` {self._column!r}; {near}")
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
