"""Tables of networks and devices as other programs read them: one row for each network, or the
files of HW-NAS-Bench and of HELP.

What was not measured is predicted, and a table of sources beside it says so of every value.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from farm.campaign.export import format_of, saved, write, write_parts
from farm.core.errors import UnknownName, UsageError
from farm.core.values import Network
from farm.inventory.config import FarmConfig
from farm.prediction.batch import Answers, Batch
from farm.prediction.central import CentralPredictor
from farm.prediction.prediction import Asked, Predicted
from farm.prediction.references import Meant
from farm.spaces import space as searched_space
from farm.store import Store

NB201_SEED = 88
"""Shuffles NAS-Bench-201's cells into the order of their published indices: `generate_meta_info` of
its authors' code (Dong & Yang, arXiv:2001.00326)."""

_CONFIG = {"name": "infer.tiny", "C": 16, "N": 5, "num_classes": 10}
"""Of NAS-Bench-201's networks for CIFAR-10, which are those of the space `nb201`."""


_AT_ONCE = 4000
"""Networks that are predicted and written at a time: what is told of one takes a kilobyte for each
device, and each time the model is fitted."""

_INDEX = (("index", pa.int64()), ("network", pa.string()))


@dataclass(frozen=True, kw_only=True)
class Export:
    """What is written.

    layout: `long`, a row for each measurement; `wide`, one for each network, with columns for each
        device; `hw-nas-bench`, the pickle of that benchmark; `help`, the folder that HELP reads.
    output: file or folder; None: one in this folder. format: of a table whose name does not say it.
    campaign: of the long layout, only this one's.
    space, devices, networks: of the others: the search space, names (none: all of cluster.yaml that
        measured some of it), and what is in the table (none: what was measured; of the last two
        layouts, all of NAS-Bench-201 in the order of its indices).
    """

    layout: str = "long"
    output: Path | None = None
    format: str | None = None
    campaign: str | None = None
    space: str = "nb201"
    devices: Sequence[str] = ()
    networks: Sequence[str] = ()

    @property
    def path(self) -> Path:
        """Where it is written. Raises UnknownName for a layout or a format that does not exist."""
        ending = self.format or "csv"
        known = {
            "long": f"measurements.{ending}",
            "wide": f"{self.space}.{ending}",
            "hw-nas-bench": "HW-NAS-Bench.pickle",
            "help": f"help-{self.space}",
        }
        if self.layout not in known:
            raise UnknownName("layout", self.layout, known)
        found = self.output or Path(known[self.layout])
        if self.layout in ("long", "wide"):
            format_of(found, self.format)
        return found


@dataclass(frozen=True)
class Exported:
    """sources: the table that says which values were measured, where that is another file."""

    path: Path
    rows: int
    sources: Path | None = None

    def to_json(self) -> dict[str, Any]:
        sources = {} if self.sources is None else {"sources": str(self.sources)}
        return {"path": str(self.path), "rows": self.rows, **sources}


@dataclass(frozen=True)
class _Column:
    """A device, and what is asked about it."""

    asked: Asked
    meant: Meant

    @property
    def name(self) -> str:
        """Device, batch size and, unless they are warm, the state of the caches."""
        return f"{self.meant.device}_b{self.meant.batch}{'_cold' * bool(self.meant.flush_bytes)}"

    @property
    def published_name(self) -> str:
        """As HELP names devices: with the batch size, unless it is one."""
        return self.meant.device + (f"_{self.meant.batch}" if self.meant.batch > 1 else "")

    @property
    def fields(self) -> list[tuple[str, pa.DataType]]:
        """The columns of a table that it has."""
        each = [(f"{self.name}_{name}", pa.float64()) for name in ("ms", "low_ms", "high_ms")]
        return [*each, (f"{self.name}_source", pa.string())]

    def told(self, networks: Sequence[Network]) -> Answers[Predicted]:
        """What it takes for networks, by their rows."""
        names = tuple(network.id for network in networks)
        return self.asked.answers(Batch(names, dict(enumerate(networks)), {}, {}), {}).answers

    def cells(self, one: Predicted | None) -> dict[str, object]:
        """What a table says of a network; None: it cannot be predicted."""
        if one is None:
            return {}
        source = "measured" if one.measured else one.source
        each = {"ms": one.latency_s, "low_ms": one.low_s, "high_ms": one.high_s}
        told = {
            f"{self.name}_{name}": 1e3 * value if isfinite(value) else None  # of a single session
            for name, value in each.items()
        }
        return {**told, f"{self.name}_source": source}


def export(store: Store, config: FarmConfig, asked: Export) -> Exported:
    """Write a table of what the store knows.

    Raises UnknownName for a layout, format, campaign, device or search space that does not exist,
    and UsageError for what a layout cannot hold and for a path that cannot be written.
    """
    path = asked.path
    if asked.layout == "long":
        if asked.devices or asked.networks:
            raise UsageError("--layout long has all devices and networks of --campaign, or all")
        return Exported(path, write(store, path, asked.format, asked.campaign))
    if asked.campaign is not None:
        raise UsageError(f"--campaign goes with --layout long, not with {asked.layout}")
    searched_space(asked.space, store.models)
    devices = _devices(store, config, asked)
    networks = _networks(store, devices, asked)
    columns = _columns(store, config, devices)
    for column in columns:
        column.told(())  # which says so where nothing was measured
    if not networks:
        raise UsageError(f"there is no network of {asked.space} to export")
    return _WRITERS[asked.layout](asked, networks, columns)


def _devices(store: Store, config: FarmConfig, asked: Export) -> list[str]:
    for name in asked.devices:
        config.device(name)
    measured = store.devices_of(asked.space)
    found = list(asked.devices) or [name for name in config.devices if name in measured]
    if not found:
        raise UsageError(
            f"no device of {config.path} has measured networks of {asked.space}; "
            f"`farm launch --space {asked.space} --devices DEVICE --budget 10` measures some"
        )
    return found


def _networks(store: Store, devices: Sequence[str], asked: Export) -> list[Network]:
    if asked.layout != "wide" and asked.space == "nb201":
        if asked.networks:
            raise UsageError(
                f"--layout {asked.layout} has all networks of nb201 in the order of their indices; "
                "leave --networks out"
            )
        return nb201_networks()
    if asked.networks:
        batch = Batch.read(asked.networks, store.models)
        batch.must_be_read()
        other = next((n for n in batch.networks.values() if n.space != asked.space), None)
        if other is not None:
            raise UsageError(f"--networks must be of --space {asked.space}, got {other.id}")
        return list(dict.fromkeys(batch.networks.values()))
    if asked.layout != "wide":
        raise UsageError(
            f"--layout {asked.layout} with --space {asked.space} needs --networks FILE: the "
            "networks in the order of their indices, one a line"
        )
    each = (m for name in devices for _, m in store.observed(name, asked.space))
    return sorted({m.network for m in each})


def nb201_networks() -> list[Network]:
    """All networks of NAS-Bench-201 in the order of their published indices."""
    found = list(searched_space("nb201").all_networks())  # type: ignore[attr-defined]
    random.Random(NB201_SEED).shuffle(found)
    return found


def _columns(store: Store, config: FarmConfig, devices: Sequence[str]) -> list[_Column]:
    predictor = CentralPredictor.of(store, config)
    chosen = [config.device(name) for name in devices]
    return [
        _Column(Asked(store, config, one, store.models, predictor), Meant.now(store, one))
        for one in chosen
    ]


def _written(
    path: Path,
    networks: Sequence[Network],
    columns: Sequence[_Column],
    format: str | None = None,
    all_known: bool = False,
) -> list[NDArray[np.float64]]:
    """Write a row for each network, a part of them at a time: its index here, and latencies in
    milliseconds with their 95 % intervals and sources. The latencies (N,) of each device, NaN where
    one cannot be predicted.

    all_known: raise UsageError there, and write nothing.
    """
    schema = pa.schema([*_INDEX, *(field for column in columns for field in column.fields)])
    latency_ms = [np.full(len(networks), np.nan) for _ in columns]

    def parts() -> Iterator[list[dict[str, object]]]:
        for first in range(0, len(networks), _AT_ONCE):
            part = networks[first : first + _AT_ONCE]
            rows: list[dict[str, object]] = [
                {"index": row, "network": network.id} for row, network in enumerate(part, first)
            ]
            for column, own_ms in zip(columns, latency_ms, strict=True):
                told = column.told(part)
                lacking = next(iter(told.errors.values()), None)
                if all_known and lacking is not None:
                    raise UsageError(f"this layout needs a latency of every network: {lacking}")
                for row in range(len(part)):
                    rows[row] |= column.cells(told.found.get(row))
                for row, one in told.found.items():
                    own_ms[first + row] = 1e3 * one.latency_s
            yield rows

    write_parts(path, schema, parts(), format)
    return latency_ms


def _wide(asked: Export, networks: Sequence[Network], columns: Sequence[_Column]) -> Exported:
    _written(asked.path, networks, columns, asked.format)
    return Exported(asked.path, len(networks))


def _hw_nas_bench(
    asked: Export, networks: Sequence[Network], columns: Sequence[_Column]
) -> Exported:
    """A pickle of `{"nasbench201": {"cifar10": {"DEVICE_latency": milliseconds, "config": ...}}}`,
    lists by index (Li et al., arXiv:2103.10584)."""
    if asked.space != "nb201":
        raise UsageError(
            "HW-NAS-Bench has times of FBNet's blocks, and the farm measures whole networks; "
            "--layout help holds these"
        )
    sources = asked.path.with_suffix(".sources.csv")
    found_ms = _written(sources, networks, columns, all_known=True)
    each = zip(columns, found_ms, strict=True)
    told: dict[str, list[Any]] = {f"{c.published_name}_latency": ms.tolist() for c, ms in each}
    told["config"] = [{**_CONFIG, "arch_str": network.code} for network in networks]
    content = pickle.dumps({"nasbench201": {"cifar10": told}})
    saved(asked.path, lambda part: part.write_bytes(content))
    return Exported(asked.path, len(networks), sources)


def _help(asked: Export, networks: Sequence[Network], columns: Sequence[_Column]) -> Exported:
    """`latency/DEVICE.pt`, milliseconds (N,) float32 in the order of the networks, and these (Lee
    et al., arXiv:2106.08630): of NAS-Bench-201 as `str_arch2idx.pt`, of FBNet as `metainfo.pt`."""
    import torch

    if not asked.space.startswith(("nb201", "fbnet")):
        raise UsageError(f"HELP reads networks of nb201 and fbnet, got --space {asked.space}")
    folder = asked.path
    sources = folder / "sources.csv"
    _make(folder / "latency")
    try:
        found_ms = _written(sources, networks, columns, all_known=True)
    except UsageError:
        with suppress(OSError):  # where others have files in it
            (folder / "latency").rmdir()
            folder.rmdir()
        raise
    latency_ms = {
        column.published_name: torch.tensor(ms, dtype=torch.float32)
        for column, ms in zip(columns, found_ms, strict=True)
    }
    files: dict[Path, Any] = {Path("latency") / f"{n}.pt": own for n, own in latency_ms.items()}
    codes = [network.code for network in networks]
    if asked.space == "nb201":
        files[Path("str_arch2idx.pt")] = {code: index for index, code in enumerate(codes)}
    else:
        arch = [{"op_idx_list": [int(digit) for digit in code]} for code in codes]
        files[Path("metainfo.pt")] = {"arch": arch}
    for path, content in files.items():
        saved(folder / path, lambda part, content=content: torch.save(content, part))  # type: ignore[misc]
    return Exported(folder, len(networks), sources)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UsageError(
            f"{folder} cannot be made: {e.strerror}; --output names another folder"
        ) from e


_WRITERS: Mapping[str, Callable[[Export, Sequence[Network], Sequence[_Column]], Exported]] = {
    "wide": _wide,
    "hw-nas-bench": _hw_nas_bench,
    "help": _help,
}
