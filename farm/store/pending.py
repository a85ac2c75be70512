"""Requests without an outcome, kept in memory: a campaign asks for them several times a step.

The view `pending` says which these are. It is read once; from then on only requests that something
changed are looked at again, whatever it was: triggers of this connection tell. What another process
commits they do not tell, and all is read anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from farm.store import rows
from farm.store.connection import Connected
from farm.store.edge import Row, readable
from farm.store.values import Request

_CHANGES = (
    ("INSERT ON requests", "NEW.id"),
    ("INSERT ON measurements", "NEW.request"),
    ("UPDATE OF invalidated ON measurements", "NEW.request"),
    ("INSERT ON failures", "NEW.request"),
    ("UPDATE OF final ON failures", "NEW.request"),
    ("INSERT ON reuses", "NEW.request"),
    ("DELETE ON reuses", "OLD.request"),
)
"""All that decides what the view `pending` says, and of which request."""

_MANY = 500
"""Changed requests from which on all are read anew."""

Pending = Mapping[str, Mapping[int, Request]]
"""By device and id, of each device oldest first."""


class PendingStore(Connected):
    """The part of `farm.store.Store` that says what has no outcome yet."""

    _pending: dict[str | None, dict[str, dict[int, Request]]]
    _changed: set[int] | None = None
    _changed_devices: set[str] | None = None
    _read_at: int = 0

    def pending(self, campaign: str | None) -> list[Request]:
        """Requests without an outcome, oldest first; None: those of queries."""
        found = self.pending_by_device(campaign).values()
        return sorted((one for own in found for one in own.values()), key=lambda one: one.id)

    def pending_by_device(self, campaign: str | None) -> Pending:
        """The same by device, as they are until the next call; one without any may be left out."""
        self._look_again()
        if campaign not in self._pending:
            known = self._pending[campaign] = {}
            for one in requests(
                self._rows("SELECT * FROM pending WHERE campaign IS ? ORDER BY id", campaign)
            ):
                known.setdefault(one.device, {})[one.id] = one
        return self._pending[campaign]

    def take_changed_devices(self) -> set[str] | None:
        """The devices whose requests came or changed since this was asked last; None where that
        cannot be told: the first time, and after another process has written."""
        self._look_again()
        changed, self._changed_devices = self._changed_devices, set()
        return changed

    def _look_again(self) -> None:
        committed = self._value("PRAGMA data_version")
        if self._changed is None:
            self._changed = set()
            self._tell(self._changed)
        changed = sorted(self._changed)
        if committed != self._read_at or len(changed) > _MANY:
            self._pending.clear()
            self._changed_devices = None
        elif changed:
            self._look_at(changed)
        self._changed.clear()
        self._read_at = committed

    def _tell(self, changed: set[int]) -> None:
        """Have SQLite add each request to `changed` that something is written of here."""
        if self._writable:
            self._db.conn.create_function("changed", 1, changed.add)
            for number, (event, request) in enumerate(_CHANGES):
                self._db.conn.execute(
                    f"""CREATE TEMP TRIGGER changed_{number} AFTER {event} BEGIN
                        SELECT changed({request}); END"""
                )

    def _look_at(self, ids: Sequence[int]) -> None:
        sql = f"""SELECT requests.*, id IN (SELECT id FROM pending WHERE id = requests.id) AS waits
                  FROM requests WHERE id IN ({", ".join("?" * len(ids))}) ORDER BY id"""
        for row, one in readable(self._rows(sql, *ids), "request", rows.request):
            if self._changed_devices is not None:
                self._changed_devices.add(one.device)
            if one.campaign not in self._pending:
                continue
            own = self._pending[one.campaign].setdefault(one.device, {})
            own.pop(one.id, None)
            if row["waits"]:
                newest = next(reversed(own), 0)
                own[one.id] = one
                if one.id < newest:  # it waits again
                    self._pending[one.campaign][one.device] = dict(sorted(own.items()))


def requests(found: Sequence[Row]) -> list[Request]:
    """Those that can be read."""
    return [request for _, request in readable(found, "request", rows.request)]
