"""Chooses, lists and uses reference sets: what `farm references` does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from farm.core.errors import UsageError
from farm.inventory.config import FarmConfig
from farm.inventory.edit import with_references
from farm.prediction.references import changed, in_use, must_hold
from farm.spaces import space as searched_space
from farm.store import ReferenceSet, Store

if TYPE_CHECKING:
    from predictors.encodings.choosing import Step


@dataclass(frozen=True)
class Choice:
    """A device that was chosen, in order: what it adds to what those before it explain.

    explained: share of the variance of networks' HWL values on the other devices. spearman: how
    networks are ranked there. worst: the device that is explained worst, and how much of it; None
    where no other is left.
    """

    device: str
    explained: float
    adds: float
    spearman: float
    worst: tuple[str, float] | None

    def to_json(self) -> dict[str, Any]:
        worst = None if self.worst is None else dict(zip(_WORST, self.worst, strict=True))
        return {**vars(self), "worst": worst}


_WORST = ("device", "explained")


def choose(config: FarmConfig, space: str, size: int) -> tuple[list[Choice], tuple[str, ...]]:
    """The devices that tell most about the others, and all that there were to choose from: those
    with measured networks of a space, and those of published tables.

    Raises UsageError where there are fewer devices than `size`.
    """
    from farm.prediction.central import CentralPredictor
    from predictors.encodings.choosing import choose as chosen
    from predictors.encodings.hwl import Normalisation

    searched = searched_space(space)
    with _known(config) as store:
        found, encoder = CentralPredictor.of(store, config).all_references(searched)
    names = tuple(found)
    if not 1 <= size <= len(names):
        raise UsageError(
            f"--size must be 1 to {len(names)}, the devices that are known on {space}, got {size}; "
            f"`farm launch --space {space} --devices DEVICE --budget 10` measures another, and "
            "`published:` in cluster.yaml names tables of others"
        )
    assert encoder is not None  # there are devices
    latency_s = np.column_stack([one.latency_s(encoder.pool) for one in found.values()])
    steps = chosen(Normalisation.fit(latency_s).values(latency_s), size)
    return _choices(steps, names), names


@contextmanager
def _known(config: FarmConfig) -> Iterator[Store]:
    """The store, or an empty one where there is none: published tables tell enough."""
    with TemporaryDirectory(prefix="farm-empty-") as folder:
        there = (config.store / "farm.db").exists()
        with Store(config.store if there else Path(folder), create=not there) as store:
            yield store


def _choices(steps: Sequence[Step], names: Sequence[str]) -> list[Choice]:
    before = [0.0, *(step.explained for step in steps)]
    return [
        Choice(
            device=names[step.device],
            explained=step.explained,
            adds=step.explained - earlier,
            spearman=step.spearman,
            worst=None if step.worst is None else (names[step.worst[0]], step.worst[1]),
        )
        for step, earlier in zip(steps, before, strict=False)
    ]


@dataclass(frozen=True)
class Listed:
    """A kept set. used: whether networks of its space are encoded by it now. changed: its devices
    that are others now."""

    references: ReferenceSet
    used: bool
    changed: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        of = self.references
        return {
            "version": of.version,
            "space": of.space,
            "devices": list(of.devices),
            "batches": list(of.batches),
            "flush_bytes": list(of.flush_bytes),
            "fitted_on": of.fitted_on,
            "used": self.used,
            "changed": list(self.changed),
        }


def listed(store: Store, config: FarmConfig) -> list[Listed]:
    """All sets of the store, the one that was used last first."""
    found = []
    for one in store.reference_sets():
        now = in_use(store, config, one.space)
        used = now is not None and now.version == one.version
        found.append(Listed(one, used, tuple(changed(store, one))))
    return found


def use(store: Store, own: FarmConfig, which: Sequence[str], space: str) -> ReferenceSet:
    """Encode networks by a kept set from now on, named by its version, or by a new one of some
    devices; cluster.yaml names its devices then.

    Raises UsageError for devices of which too little is known, or that are not what they were.
    """
    kept = [one for one in store.reference_sets() if [one.version] == list(which)]
    config = _with(own, kept[0].devices if kept else which)
    if kept:
        _must_be_measurable(kept[0], config)
        must_hold(store, kept[0])
        store.use_references(kept[0])
    else:
        kept = [_fitted(store, config, space)]
    if config.references != own.references:
        with_references(own.path, config.references).save()
    return kept[0]


def _with(config: FarmConfig, devices: Sequence[str]) -> FarmConfig:
    """The same with other references. Raises UnknownName, and UsageError for one named twice."""
    for name in devices:
        config.device(name)
    if not devices or len(set(devices)) < len(devices):
        raise UsageError(f"name each reference device once, got {','.join(devices) or 'none'}")
    return replace(config, references=tuple(devices))


def _fitted(store: Store, config: FarmConfig, space: str) -> ReferenceSet:
    from farm.prediction.central import CentralPredictor
    from farm.prediction.hwl import fit

    found, networks = fit(store, config, space, CentralPredictor.of(store, config))
    store.use_references(found, networks)
    return found


def _must_be_measurable(found: ReferenceSet, config: FarmConfig) -> None:
    """Raises UsageError where cluster.yaml has a device measure another quantity."""
    for name, quantity in zip(found.devices, found.quantities, strict=True):
        now = config.device(name).spec.quantity
        if now != quantity:
            raise UsageError(
                f"reference set {found.version} is of {name} with (batch, flush_bytes) {quantity}, "
                f"and {config.path} says {now}; change it there, or use another set"
            )
