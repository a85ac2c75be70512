"""What is known of devices on the networks of one search space: from the store, and from tables
that others published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from agents import published_table
from farm.core.errors import ConfigError, DeviceUnfit, UsageError
from farm.core.values import Network
from farm.inventory.config import Device, FarmConfig, PublishedTable
from farm.measurement.estimator import Z_95
from farm.measurement.record import Measurement
from predictors import FloatArray


@dataclass(frozen=True, eq=False)
class Column:
    """What one device takes for some networks of a search space, in the order in which it became
    known.

    latency_s: (n,) seconds.
    measurements: that they come from; none where others measured.
    """

    device: str
    networks: tuple[Network, ...]
    latency_s: FloatArray
    measurements: tuple[Measurement, ...] = ()

    @cached_property
    def noise_std(self) -> FloatArray:
        """(n,), of the logarithm of each, as far as its measurement tells."""
        if not self.measurements:
            return np.zeros(len(self.networks))
        half_width = np.array([m.half_width for m in self.measurements])
        # One of a single session has no width that is known.
        return np.asarray(np.where(np.isfinite(half_width), half_width, 1.0) / Z_95)

    def without(self, left_out: Iterable[Network]) -> Column:
        """The same, but for some networks."""
        barred = set(left_out)
        return self._at([i for i, network in enumerate(self.networks) if network not in barred])

    def first(self, n: int) -> Column:
        """What became known first."""
        return self._at(range(min(n, len(self.networks))))

    def last(self, n: int) -> Column:
        """What became known last."""
        return self._at(range(max(0, len(self.networks) - n), len(self.networks)))

    @cached_property
    def key(self) -> tuple[str, int, int]:
        """Of two that say the same of one device, the same."""
        return (self.device, len(self.networks), hash((self.networks, self.latency_s.tobytes())))

    @cached_property
    def by_network(self) -> dict[Network, float]:
        """Seconds."""
        return dict(zip(self.networks, self.latency_s.tolist(), strict=True))

    @cached_property
    def row(self) -> dict[Network, int]:
        """Of each network."""
        return {network: row for row, network in enumerate(self.networks)}

    def _at(self, rows: Sequence[int]) -> Column:
        at = np.asarray(rows, np.intp)
        networks = tuple(self.networks[row] for row in rows)
        measurements = tuple(self.measurements[row] for row in rows) if self.measurements else ()
        return Column(self.device, networks, self.latency_s[at], measurements)

    @classmethod
    def of(cls, device: str, measurements: Iterable[Measurement]) -> Column:
        """The newest of each network. All of one quantity."""
        newest: dict[Network, Measurement] = {}
        for m in measurements:
            newest.pop(m.network, None)
            newest[m.network] = m
        found = tuple(newest.values())
        latency_s = np.array([m.latency_s for m in found])
        return cls(device, tuple(newest), latency_s, found)


def column(device: str, found: Sequence[Measurement], spec_of: Device | None) -> Column:
    """Of a device as it measures now, or else of the quantity that most of its results are of."""
    if spec_of is not None:
        wanted = spec_of.spec.quantity
    else:
        each = Counter(m.spec.quantity for m in found)
        wanted = max(each, key=each.__getitem__, default=(0, 0))
    return Column.of(device, [m for m in found if m.spec.quantity == wanted])


def published(config: FarmConfig, space: str) -> list[Column]:
    """The columns of the tables that cluster.yaml names, as far as they are of this space.

    Raises ConfigError for a table that is not there or lacks a device.
    """
    return [
        found
        for named in config.published
        if _space(config, named) == space
        for found in _columns(config, named, space)
    ]


def must_be_readable(config: FarmConfig, space: str) -> None:
    """Raises ConfigError as `published` does."""
    for named in config.published:
        if _space(config, named) == space:
            _table(config, named)


def of_other_spaces(config: FarmConfig, space: str) -> dict[str, str]:
    """The tables that say nothing of a space, with the reason."""
    found = {}
    for named in config.published:
        own = _space(config, named)
        if own != space:
            found[named.file] = f"its networks are of {own}, which says nothing of {space}"
    return found


def must_not_be_published(config: FarmConfig, devices: Sequence[str]) -> None:
    """Raises UsageError where a device replays a column that is a published reference, too."""
    for name in devices:
        device = config.device(name)
        if device.kind != "replay":
            continue
        own_path = published_table.table_path(getattr(device.options, "table", ""))
        own = getattr(device.options, "column", None) or name
        for named in config.published:
            same = _path(config, named).resolve() == own_path.resolve()
            if same and (named.devices is None or own in named.devices):
                raise UsageError(
                    f"{name} replays the column {own!r} of {named.file}, which `published:` in "
                    f"{config.path} makes a reference: it would predict itself; take {own!r} out "
                    "of `devices:` there"
                )


def _path(config: FarmConfig, named: PublishedTable) -> Path:
    beside = config.path.parent / Path(named.file).expanduser()
    if beside.exists() or "/" in named.file:
        return beside
    return published_table.table_path(named.file.removesuffix(".npz"))


def _space(config: FarmConfig, named: PublishedTable) -> str:
    return named.space or published_table.space_of(_path(config, named))


def _columns(config: FarmConfig, named: PublishedTable, space: str) -> list[Column]:
    table = _table(config, named)
    networks = {row: Network(space, code) for code, row in table.row_of.items()}
    devices = table.devices if named.devices is None else named.devices
    return [_published(table, device, networks) for device in devices]


def _table(config: FarmConfig, named: PublishedTable) -> published_table.Table:
    """A table that has the devices that are named. Raises ConfigError."""
    try:
        table = published_table.load(_path(config, named))
    except DeviceUnfit as e:
        raise ConfigError(f"{config.path}: published: {e}") from e
    for device in named.devices or ():
        if device not in table.devices:
            raise ConfigError(
                f"{config.path}: published: {named.file} has no device {device!r}; "
                f"{published_table.offer(device, table.devices)}"
            )
    return table


def _published(
    table: published_table.Table, device: str, networks: Mapping[int, Network]
) -> Column:
    latency_s = table.latency_s[table.devices.index(device)]
    rows = np.flatnonzero(np.isfinite(latency_s) & (latency_s > 0))
    known = tuple(networks[int(row)] for row in rows)
    return Column(f"published {device}", known, latency_s[rows])
