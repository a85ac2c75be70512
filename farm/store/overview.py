"""What a person looks at first: what devices measured lately, and what waits."""

from __future__ import annotations

from collections.abc import Mapping

from farm.measurement.record import Measurement
from farm.store import rows
from farm.store.baselines import BaselineStore
from farm.store.edge import readable
from farm.store.values import Choice


class OverviewStore(BaselineStore):
    """The part of `farm.store.Store` that says how things are at the moment."""

    def verdicts_since(self, at: str) -> Mapping[str, Mapping[str, int]]:
        """How many measurements of networks had each verdict, by device. at: UTC."""
        found: dict[str, dict[str, int]] = {}
        for (device, verdict), n in self._verdicts("measured_at >= ?", at).items():
            found.setdefault(device, {})[verdict] = n
        return found

    def verdicts_after(self, last: int) -> tuple[int, Mapping[tuple[str, str], int]]:
        """The id of the newest measurement, and how many of networks with a higher id than `last`
        had each verdict, by device and verdict."""
        newest = int(self._value("SELECT ifnull(max(id), 0) FROM measurements"))
        return newest, self._verdicts("id > ? AND id <= ?", last, newest)

    def _verdicts(self, match: str, *values: object) -> dict[tuple[str, str], int]:
        """Of some measurements of networks, by device and verdict."""
        sql = f"""SELECT device, verdict, count(*) AS n FROM measurements
                  WHERE {match} AND verdict IS NOT NULL AND network NOT LIKE 'kernel/%'
                  GROUP BY device, verdict"""
        return {(row["device"], row["verdict"]): row["n"] for row in self._rows(sql, *values)}

    def all_builds(self) -> tuple[int, int]:
        """How many builds campaigns paid for, and how many they found already made."""
        built = self._value("SELECT count(*) FROM builds WHERE campaign IS NOT NULL")
        used = self._value("SELECT count(*) FROM campaign_builds")
        return int(built), max(0, int(used) - int(built))

    def last_measured(self, device: str) -> Measurement | None:
        """What a device measured last, whatever it was."""
        sql = f"""SELECT {rows.MEASURED} FROM {rows.WITH_SAMPLES}
                  WHERE measurements.id = (SELECT added FROM news WHERE device = ?)"""
        found = self._rows(sql, device)
        told = readable(found, "measurement", lambda row: self._told(row, {}))
        return told[0][1] if told else None

    def waiting(self) -> Mapping[str, int]:
        """Requests without an outcome, by device: of campaigns that nobody asked to end. What a
        query left behind waits for nothing."""
        sql = """SELECT device, count(*) AS n FROM pending WHERE campaign IS NOT NULL
                 AND campaign NOT IN (SELECT campaign FROM cancellations) GROUP BY device"""
        return {row["device"]: row["n"] for row in self._rows(sql)}

    def choices(self, campaign: str) -> list[Choice]:
        """The networks that a campaign learns from, in the order in which they were chosen."""
        sql = """SELECT requests.*, (SELECT text FROM texts WHERE texts.id = why) AS reason
                 FROM requests WHERE campaign = ? AND purpose = 'learn' ORDER BY id"""
        found = readable(self._rows(sql, campaign), "request", rows.request)
        return [Choice(r.network, r.device, row["reason"], r.half_width) for row, r in found]

    def learnt_from(self, campaign: str) -> list[int]:
        """The ids of a campaign's own measurements that it learns from, oldest first."""
        sql = """SELECT measurements.id FROM measurements JOIN requests ON requests.id = request
                 WHERE campaign = ? AND purpose = 'learn' AND invalidated IS NULL
                 ORDER BY measurements.id"""
        return [row["id"] for row in self._rows(sql, campaign)]
