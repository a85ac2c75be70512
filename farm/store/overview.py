"""What a person looks at first: what devices measured lately, and what happened, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from farm.measurement.record import Measurement
from farm.store import rows
from farm.store.baselines import BaselineStore
from farm.store.edge import readable


@dataclass(frozen=True)
class Event:
    """Something that happened to a campaign or a device. what: a sentence."""

    at: str
    what: str
    campaign: str | None
    device: str | None


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

    def learnt_from(self, campaign: str) -> list[int]:
        """The ids of a campaign's own measurements that it learns from, oldest first."""
        sql = """SELECT measurements.id FROM measurements JOIN requests ON requests.id = request
                 WHERE campaign = ? AND purpose = 'learn' AND invalidated IS NULL
                 ORDER BY measurements.id"""
        return [row["id"] for row in self._rows(sql, campaign)]

    def events(self, campaign: str, most: int) -> list[Event]:
        """What happened to a campaign and, while it ran, to its devices; newest first."""
        found = self._rows(_EVENTS, *(campaign,) * _EVENTS.count("?"))
        events = [Event(**row) for row in found]
        return sorted(events, key=lambda one: one.at, reverse=True)[:most]


_DEVICES = "SELECT device FROM totals WHERE campaign = ?"
_SINCE = "SELECT min(started_at) FROM runs WHERE campaign = ?"
_EVENTS = f"""
    SELECT created_at AS at, 'asked for' AS what, id AS campaign, NULL AS device
        FROM campaigns WHERE id = ?
    UNION ALL SELECT started_at, 'a run began', campaign, NULL FROM runs WHERE campaign = ?
    UNION ALL SELECT ended_at, 'a run ended', campaign, NULL FROM runs
        WHERE ended_at IS NOT NULL AND campaign = ?
    UNION ALL SELECT cancelled_at, 'somebody asked it to end', campaign, NULL FROM cancellations
        WHERE campaign = ?
    UNION ALL SELECT stopped_at, 'knows enough: ' || reason, campaign, device FROM stops
        WHERE campaign = ?
    UNION ALL SELECT at, 'went into quarantine: ' || reason, NULL, device FROM quarantines
        WHERE device IN ({_DEVICES}) AND at >= ({_SINCE})
    UNION ALL SELECT released_at, 'was released from quarantine', NULL, device FROM quarantines
        WHERE released_at IS NOT NULL AND device IN ({_DEVICES}) AND released_at >= ({_SINCE})
    UNION ALL SELECT began_at, 'became another one: ' || reason, NULL, device FROM stretches
        WHERE device IN ({_DEVICES}) AND began_at >= ({_SINCE})
    UNION ALL SELECT failed_at, iif(final, 'gave up ', 'failed with ') || network || ': ' || kind
        || ': ' || message, campaign, device FROM failures JOIN requests ON requests.id = request
        WHERE campaign = ?"""
