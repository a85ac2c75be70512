"""What is known of the devices' health: control networks, quarantines, revisions, certificates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from farm.core.values import DeviceFacts, Network
from farm.measurement.drift_correction import Baseline, change
from farm.measurement.record import Measurement
from farm.measurement.spec import MeasureSpec
from farm.store import rows
from farm.store.baselines import BaselineStore
from farm.store.edge import Row, readable
from farm.store.values import ControlRound, Quarantine, Revision, factor

_CONTROLS = f"""SELECT {rows.MEASURED}, requested_at FROM {rows.WITH_SAMPLES}
    JOIN requests ON requests.id = request AND purpose = 'control'
    WHERE measurements.device = ? AND measurements.network = ?
    AND ifnull(fingerprint = ?, 1) AND (? OR invalidated IS NULL)
    AND ifnull(json_extract(spec_text, '$.batch') = ?, 1)
    AND ifnull(json_extract(spec_text, '$.flush_bytes') = ?, 1)
    AND measurements.id > ?
    ORDER BY measurements.id {{order}} LIMIT ?"""


class HealthStore(BaselineStore):
    """The part of `farm.store.Store` that says which devices and results can be trusted."""

    # Facts and revisions

    def see(self, facts: DeviceFacts) -> None:
        """Keep what an agent found, once for each fingerprint, and that it is so now."""
        now = rows.now("microseconds")
        row = {"fingerprint": facts.fingerprint, "device": facts.device, "first_seen_at": now}
        row |= {"facts": json.dumps(asdict(facts), default=dict)}
        sql = "UPDATE facts SET last_seen_at = ? WHERE fingerprint = ?"
        with self._writing():
            self._insert("facts", row, "IGNORE")
            self._db.conn.execute(sql, [now, facts.fingerprint])

    def facts(self, device: str) -> list[DeviceFacts]:
        """Every set of facts that the device ever had; the last is how it was seen last."""
        sql = "SELECT fingerprint, facts FROM facts WHERE device = ? ORDER BY last_seen_at, rowid"
        found = readable(self._rows(sql, device), "what was seen of a device:", _facts)
        return [facts for _, facts in found]

    def add_revision(self, revision: Revision) -> None:
        """Keep what was decided of a fingerprint; what was decided before stays."""
        with self._writing():
            self._insert("revisions", {**asdict(revision), "decided_at": rows.now()}, "IGNORE")

    def revisions(self, device: str) -> list[Revision]:
        """What was decided of the device's fingerprints, oldest first."""
        sql = "SELECT * FROM revisions WHERE device = ? ORDER BY rowid"
        found = readable(self._rows(sql, device), "revision", lambda row: Revision(**row))
        return [revision for _, revision in found]

    def as_now(self, measurements: Sequence[Measurement]) -> list[Measurement]:
        """Those that still hold on their devices as these were seen last, rebased to that."""
        return [m for m in self.holding(measurements) if m is not None]

    def holding(
        self, measurements: Sequence[Measurement], then: Mapping[str, str] | None = None
    ) -> list[Measurement | None]:
        """Each as it holds on its device as that was seen last, or `then`: by device, as a
        fingerprint; None for one that does not."""
        if then is not None:
            return self._rebased(measurements, then)
        devices = {measurement.device for measurement in measurements}
        return self._rebased(measurements, {d: self._seen_last(d) for d in devices})

    def _seen_last(self, device: str) -> str | None:
        sql = """SELECT fingerprint FROM facts WHERE device = ?
                 ORDER BY last_seen_at DESC, rowid DESC LIMIT 1"""
        return next((row["fingerprint"] for row in self._rows(sql, device)), None)

    def _rebased(
        self, measurements: Sequence[Measurement], now: Mapping[str, str] | Mapping[str, str | None]
    ) -> list[Measurement | None]:
        revisions = {d: {e.fingerprint: e for e in self.revisions(d)} for d in now}
        baselines = {d: self.baselines(d) for d in now}
        found: list[Measurement | None] = []
        for m in measurements:
            times = factor(revisions[m.device], m.fingerprint, now[m.device])
            if times is not None and m.fingerprint != now[m.device]:
                # They may have been refined since it was decided, and latencies are told at them.
                then, current = (
                    baselines[m.device].get(one or "", Baseline())
                    for one in (m.fingerprint, now[m.device])
                )
                times = change(then, current) or times
            if times is None or times == 1:
                found.append(m if times else None)
            else:
                found.append(_scaled(m, times))
        return found

    # Control networks

    def controls(
        self,
        device: str,
        networks: Sequence[Network],
        first: int,
        last: int,
        fingerprint: str | None = None,
        spec: MeasureSpec | None = None,
        invalidated: bool = False,
        after: int = 0,
    ) -> list[ControlRound]:
        """The first and the last rounds of control networks on a device that match, oldest first.

        spec: of which the quantity is looked at, not how well it was measured. invalidated: whether
            to give those, too, that no longer count. after: only measurements after this one.
        """
        batch, flush_bytes = (None, None) if spec is None else spec.quantity
        found: dict[int, dict[str, Any]] = {}
        for network in networks:
            for order, limit in (("ASC", first), ("DESC", last)):
                sql = _CONTROLS.format(order=order)
                match = (device, network.id, fingerprint, invalidated, batch, flush_bytes)
                found |= {row["id"]: row for row in self._rows(sql, *match, after, limit)}
        return _rounds([found[id] for id in sorted(found)])

    # Quarantines

    def quarantine(self, device: str, reason: str, manual: bool = False) -> None:
        """Trust a device no more. One that is in quarantine already stays so, with the reason that
        a person gives, if any."""
        row = {"device": device, "at": rows.now(), "reason": reason, "manual": int(manual)}
        with self._writing():
            if manual:
                self._release(device)
            self._insert("quarantines", row, "IGNORE")

    def release(self, device: str) -> bool:
        """Trust a device again; whether it was in quarantine."""
        with self._writing():
            return self._release(device)

    def quarantined(self, device: str) -> Quarantine | None:
        """The quarantine that a device is in."""
        sql = "SELECT * FROM quarantines WHERE device = ? AND released_at IS NULL"
        return next((_quarantine(row) for row in self._rows(sql, device)), None)

    def quarantines(self, device: str) -> list[Quarantine]:
        """All that it ever was in, oldest first."""
        sql = "SELECT * FROM quarantines WHERE device = ? ORDER BY id"
        return [_quarantine(row) for row in self._rows(sql, device)]

    def invalidate(self, device: str, reason: str, fingerprint: str | None = None) -> int:
        """No result of the device, or of it as that fingerprint has it, counts any more, nor does
        its baseline; how many there were. They are kept."""
        sql = """UPDATE measurements SET invalidated = ?
                 WHERE device = ? AND ifnull(fingerprint = ?, 1) AND invalidated IS NULL"""
        with self._writing():
            for one in self.facts(device):
                if fingerprint in (None, one.fingerprint):
                    self._forget_baseline(one.fingerprint)
            return self._db.conn.execute(sql, [reason, device, fingerprint]).rowcount

    def _release(self, device: str) -> bool:
        sql = "UPDATE quarantines SET released_at = ? WHERE device = ? AND released_at IS NULL"
        return self._db.conn.execute(sql, [rows.now(), device]).rowcount > 0

    # Certificates

    def add_certificate(self, device: str, fingerprint: str, certificate: dict[str, Any]) -> None:
        """Keep what `farm.devices.certificate` found out about a device."""
        row = {"device": device, "fingerprint": fingerprint, "checked_at": rows.now()}
        with self._writing():
            self._insert("certificates", {**row, "certificate": json.dumps(certificate)})

    def certificate(self, device: str) -> dict[str, Any] | None:
        """The newest of a device, with `checked_at` and `fingerprint`; None where there is none."""
        sql = "SELECT * FROM certificates WHERE device = ? ORDER BY id DESC LIMIT 1"
        for row, said in readable(self._rows(sql, device), "certificate", _certificate):
            return {"checked_at": row["checked_at"], "fingerprint": row["fingerprint"], **said}
        return None


def _facts(row: Row) -> DeviceFacts:
    value = json.loads(row["facts"])
    return DeviceFacts(**{**value, "cores": tuple(value["cores"])})


def _certificate(row: Row) -> dict[str, Any]:
    return dict(json.loads(row["certificate"]))


def _quarantine(row: dict[str, Any]) -> Quarantine:
    names = ("device", "at", "reason", "released_at")
    return Quarantine(**{name: row[name] for name in names}, manual=bool(row["manual"]))


def _rounds(found: Sequence[dict[str, Any]]) -> list[ControlRound]:
    """Control networks that were requested at once are a round."""
    rounds: dict[str, list[tuple[Row, float]]] = {}
    for row, latency_s in readable(
        found, "measurement", lambda row: rows.measurement(row).latency_s
    ):
        rounds.setdefault(row["requested_at"], []).append((row, latency_s))
    return [
        ControlRound(
            at=of_it[-1][0]["measured_at"],
            last_id=of_it[-1][0]["id"],
            fingerprint=of_it[-1][0]["fingerprint"],
            latency_s={(row["network"], row["build_key"]): s for row, s in of_it},
            invalidated=of_it[-1][0]["invalidated"],
        )
        for of_it in rounds.values()
    ]


def _scaled(measurement: Measurement, times: float) -> Measurement:
    """What it would have been, had the device been `times` as slow at its baseline."""
    blocks = tuple(
        replace(block, samples_s=tuple(sample_s * times for sample_s in block.samples_s))
        for block in measurement.blocks
    )
    return replace(measurement, blocks=blocks)
