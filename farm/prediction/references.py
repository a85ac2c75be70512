"""The reference set that is in use, and whether it still holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from farm.core.errors import UsageError
from farm.inventory.config import Device, FarmConfig
from farm.store import ReferenceSet, Store

if TYPE_CHECKING:
    from predictors.encodings.hwl import Normalisation


@dataclass(frozen=True)
class Meant:
    """Which latency an answer is of: on a device in a revision (the fingerprint whose results
    count, empty where it was never seen), of `batch` inputs, after caches were flushed by
    `flush_bytes` (0: left warm)."""

    device: str
    revision: str
    batch: int
    flush_bytes: int

    @classmethod
    def now(cls, store: Store, device: Device) -> Meant:
        """What a device measures."""
        return cls(device.name, revision(store, device.name), *device.spec.quantity)


def chosen(store: Store, config: FarmConfig, space: str) -> ReferenceSet | None:
    """The set that was used last of those with the references, and the quantities, that
    cluster.yaml says; None before any was fitted."""
    quantities = tuple(config.device(name).spec.quantity for name in config.references)
    for found in store.reference_sets(space):
        if (found.devices, found.quantities) == (config.references, quantities):
            return found
    return None


def in_use(store: Store, config: FarmConfig, space: str) -> ReferenceSet | None:
    """The chosen set, as long as it holds."""
    found = chosen(store, config, space)
    return None if found is None or changed(store, found) else found


def changed(store: Store, found: ReferenceSet) -> dict[str, str]:
    """The devices that are in another revision than when the set was fitted, and in which."""
    now = {device: revision(store, device) for device in found.devices}
    then = dict(zip(found.devices, found.revisions, strict=True))
    return {device: now[device] for device in found.devices if now[device] != then[device]}


def must_hold(store: Store, found: ReferenceSet) -> None:
    """Raises UsageError where a device is no longer the one that the set was fitted with."""
    for device, now in changed(store, found).items():
        then = found.revisions[found.devices.index(device)]
        raise UsageError(
            f"reference set {found.version} is of {device} in revision {then}, which is in "
            f"revision {now} now: encodings of the two do not compare; "
            f"`farm references use {','.join(found.devices)} --space {found.space}` makes a new set"
        )


def revision(store: Store, device: str) -> str:
    """The fingerprint whose results count on a device as it was seen last; empty where it never
    was."""
    facts = store.facts(device)
    if not facts:
        return ""
    now = facts[-1].fingerprint
    return next((r.base for r in store.revisions(device) if r.fingerprint == now), now)


def normalisation(found: ReferenceSet) -> Normalisation:
    """Of all devices of a set."""
    from predictors.encodings.hwl import Normalisation

    return Normalisation(np.array(found.unit_s), np.array(found.mean), np.array(found.scale))


def by_device(found: ReferenceSet) -> Mapping[str, Normalisation]:
    """Of each device of a set."""
    from predictors.encodings.hwl import Normalisation

    numbers = zip(found.devices, found.unit_s, found.mean, found.scale, strict=True)
    return {name: Normalisation(*(np.array([n]) for n in own)) for name, *own in numbers}
