"""Measurements as the predictor reads them: each row of the store once, and again only where it is
told differently since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from farm.measurement.record import Measurement
from farm.store import Store


@dataclass(frozen=True, eq=False)
class _Read:
    """state: of the device, which decides how its rows are told. by_id: None for one that does not
    hold."""

    state: Any
    by_id: dict[int, Measurement | None]


class Observed:
    """What a store knows of devices, read piece by piece.

    until: the id of the last measurement that is looked at; None for all.
    """

    def __init__(self, store: Store, until: int | None = None) -> None:
        self._store = store
        self._until = until
        self._read: dict[tuple[str, str], _Read] = {}

    def of(self, device: str, space: str) -> list[Measurement]:
        """All measurements of networks of a space that hold on a device as it is now, oldest
        first. Those without an id of their own here are read, the others are known."""
        state = self._store.told_by(device)
        known = self._read.get((device, space))
        if known is None or known.state != state:
            known = self._read[device, space] = _Read(state, {})
        ids = self._store.observed_ids(device, space, self._until)
        missing = [id for id in ids if id not in known.by_id]
        if missing:
            read = self._store.observed(device, space, since=missing[0], until=self._until)
            known.by_id.update({**dict.fromkeys(missing), **dict(read)})
        found = (known.by_id[id] for id in ids)
        return [measurement for measurement in found if measurement is not None]
