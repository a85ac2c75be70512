"""What is known already: measurements that serve other requests than their own, and where a
campaign stopped since it knew enough."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from farm.core.values import KERNEL
from farm.measurement.drift_correction import Baseline
from farm.measurement.record import Measurement
from farm.store import rows
from farm.store.connection import PART
from farm.store.edge import readable
from farm.store.kernels import KernelStore
from farm.store.proxies import ProxyStore
from farm.store.reference_sets import ReferenceStore
from farm.store.values import News, Request

_OBSERVED = """JOIN requests ON requests.id = request AND purpose <> 'control'
    WHERE invalidated IS NULL AND measurements.device = ?
    AND measurements.network >= ? AND measurements.network < ?
    AND measurements.id >= ? AND ifnull(measurements.id <= ?, 1) ORDER BY measurements.id"""

_THESE = f"""SELECT {rows.MEASURED} FROM {rows.WITH_SAMPLES}
    WHERE measurements.id IN (SELECT value FROM json_each(?)) ORDER BY measurements.id"""

_NO_NEWS = News()


def _match(device: str, space: str, since: int, until: int | None) -> tuple[Any, ...]:
    """The values of _OBSERVED. Names of a space's networks lie between `space/` and `space0`, the
    character after the slash, so that an index finds them."""
    return (device, f"{space}/", f"{space}0", since, until)


class KnowledgeStore(KernelStore, ReferenceStore, ProxyStore):
    """The part of `farm.store.Store` that campaigns share."""

    _news: tuple[tuple[int, int], dict[str, News]] | None = None

    def observed(
        self, device: str, space: str, since: int = 0, until: int | None = None
    ) -> Iterator[tuple[int, Measurement]]:
        """All measurements of networks of a space on a device that hold on it as it is now, each
        with its id, oldest first, whoever asked for them; control networks are left out. They are
        read a part at a time: a row has thousands of samples.

        since, until: the ids of the first and the last one that are looked at; with a last one,
            they hold on the device as it was then.
        """
        match = _match(device, space, since, until)
        then = None if until is None else self._fingerprint_then(match)
        known: dict[str, dict[str, Baseline]] = {}
        ids = self._observed_ids(match)
        for first in range(0, len(ids), PART):
            part = self._rows(_THESE, json.dumps(ids[first : first + PART]))
            read = readable(part, "measurement", lambda row: self._told(row, known))
            holding = self.holding([m for _, m in read], then)
            for (row, _), m in zip(read, holding, strict=True):
                if m is not None:
                    yield row["id"], m

    def _fingerprint_then(self, match: Sequence[Any]) -> dict[str, str]:
        """Of a device at the last measurement that matches, by the device's name."""
        sql = f"""SELECT measurements.device, fingerprint FROM measurements {_OBSERVED}
                  DESC LIMIT 1"""
        return {row["device"]: row["fingerprint"] for row in self._rows(sql, *match)}

    def observed_ids(self, device: str, space: str, until: int | None = None) -> list[int]:
        """The ids of `observed`, and of those that do not hold."""
        return self._observed_ids(_match(device, space, 0, until))

    def _observed_ids(self, match: Sequence[Any]) -> list[int]:
        sql = f"SELECT measurements.id FROM measurements {_OBSERVED}"
        return [row["id"] for row in self._rows(sql, *match)]

    def news(self, device: str) -> News:
        """What is new of a device: one row, however much it measured."""
        # Who asks for one device asks for many, as each is predicted by the others.
        now = self._db.conn.total_changes, self._value("PRAGMA data_version")
        if self._news is None or self._news[0] != now:
            found = self._rows("SELECT * FROM news")
            self._news = now, {row.pop("device"): News(**row) for row in found}
        return self._news[1].get(device, _NO_NEWS)

    def version(self) -> tuple[int, int, int, int]:
        """A value that is another one after whatever changes what is predicted."""
        sql = """SELECT total(added) AS added, total(dropped) AS dropped, total(told) AS told,
                 (SELECT count(*) FROM reference_uses) AS uses FROM news"""
        (row,) = self._rows(sql)
        return int(row["added"]), int(row["dropped"]), int(row["told"]), int(row["uses"])

    def verdicts(self, campaign: str, device: str) -> dict[str, int]:
        """How many outcomes of a campaign on a device were stored with each verdict."""
        sql = """SELECT verdict, count(*) AS n FROM (
                     SELECT measurements.id FROM measurements JOIN requests ON requests.id = request
                     WHERE campaign = ? AND purpose <> 'kernel'
                     UNION ALL SELECT measurement FROM reuses
                     JOIN requests ON requests.id = request WHERE campaign = ?
                 ) AS own JOIN measurements USING (id)
                 WHERE device = ? AND invalidated IS NULL GROUP BY verdict"""
        found = self._rows(sql, campaign, campaign, device)
        return {row["verdict"]: row["n"] for row in found if row["verdict"]}

    def last_of(self, campaign: str) -> int | None:
        """The id of the last measurement that a campaign led to, or used."""
        sql = """SELECT max(id) FROM (
                     SELECT measurements.id FROM measurements JOIN requests ON requests.id = request
                     WHERE campaign = ?
                     UNION ALL SELECT measurement FROM reuses
                     JOIN requests ON requests.id = request WHERE campaign = ?)"""
        found = self._value(sql, campaign, campaign)
        return None if found is None else int(found)

    def devices_of(self, space: str) -> list[str]:
        """The devices that networks of a space were measured on."""
        sql = """SELECT device FROM news AS known
                 WHERE EXISTS (SELECT 1 FROM measurements WHERE device = known.device
                               AND network >= ? AND network < ?) ORDER BY device"""
        return [row["device"] for row in self._rows(sql, f"{space}/", f"{space}0")]

    def spaces_of(self, device: str) -> list[str]:
        """The search spaces that networks were measured of on a device, kernels left out."""
        sql = """SELECT DISTINCT substr(network, 1, instr(network, '/') - 1) AS space
                 FROM measurements WHERE device = ? ORDER BY space"""
        found = [row["space"] for row in self._rows(sql, device)]
        return [space for space in found if space != KERNEL]

    def reuse(self, request: Request, measurement: int) -> None:
        """Let a measurement that another request led to be the outcome of this one, too."""
        with self._writing():
            row = {"request": request.id, "measurement": measurement}
            self._insert("reuses", row, "IGNORE")

    def reused(self, campaign: str) -> dict[str, int]:
        """How many requests of a campaign have another one's measurement, by device."""
        sql = """SELECT device, count(*) AS n FROM reuses JOIN requests ON requests.id = request
                 WHERE campaign = ? GROUP BY device"""
        return {row["device"]: row["n"] for row in self._rows(sql, campaign)}

    def stop(self, campaign: str, device: str, reason: str) -> None:
        """Keep that a campaign asks a device for nothing more, since it knows enough."""
        row = {"campaign": campaign, "device": device, "reason": reason, "stopped_at": rows.now()}
        with self._writing():
            self._insert("stops", row, "IGNORE")

    def stops(self, campaign: str) -> dict[str, str]:
        """Why a campaign stopped early, by device."""
        sql = "SELECT device, reason FROM stops WHERE campaign = ?"
        return {row["device"]: row["reason"] for row in self._rows(sql, campaign)}
