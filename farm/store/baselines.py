"""What devices take while nothing disturbs them, and since when they have been as they are."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from farm.core.checks import must_be_finite
from farm.measurement.drift_correction import Baseline
from farm.measurement.record import Measurement, Series
from farm.measurement.verdict import PROBES
from farm.store import rows
from farm.store.connection import Connected
from farm.store.edge import Row, readable
from farm.store.values import Stretch


def _rounds_s(row: Row) -> tuple[float, ...]:
    rounds_s = tuple(json.loads(row["rounds_s"]))
    must_be_finite("rounds_s", rounds_s, above=0)
    return rounds_s


# A probe has its name in place of a network, which has its search space's name in front.


class BaselineStore(Connected):
    """The part of `farm.store.Store` that latencies are told at."""

    def baselines(self, device: str) -> dict[str, Baseline]:
        """The device's, by fingerprint."""
        sql = """SELECT baselines.* FROM baselines JOIN facts USING (fingerprint)
                 WHERE device = ? ORDER BY baselines.rowid"""
        found: dict[str, dict[str, Any]] = {}
        for row, rounds_s in readable(self._rows(sql, device), "baseline of", _rounds_s):
            own = found.setdefault(row["fingerprint"], {"controls": {}, "probes": {}})
            if row["network"] in PROBES:
                own["probes"][row["network"]] = rounds_s
            else:
                own["controls"][row["network"], row["build_key"] or None] = rounds_s
        return {fingerprint: Baseline(**own) for fingerprint, own in found.items()}

    def begin_stretch(self, stretch: Stretch, baseline: Baseline | None = None) -> int:
        """Keep that a device has been another one since measurement `stretch.after`; `baseline`
        takes the place of the one that it had under that fingerprint.

        What was measured since then without control networks, so that nothing could be divided out,
        no longer counts; how many results that are.
        """
        row = {**asdict(stretch), "began_at": rows.now()}
        sql = """UPDATE measurements SET invalidated = ?
                 WHERE fingerprint = ? AND id > ? AND controls IS NULL AND invalidated IS NULL
                 AND request NOT IN (SELECT id FROM requests WHERE purpose = 'control')"""
        with self._writing():
            self._insert("stretches", row)
            if baseline is not None:
                self._set_baseline(stretch.fingerprint, baseline)
            match = [f"suspect: {stretch.reason}", stretch.fingerprint, stretch.after]
            return self._db.conn.execute(sql, match).rowcount

    def stretches(self, device: str, fingerprint: str | None = None) -> list[Stretch]:
        """Each time that the device became another one under the same fingerprint, or under this
        one, oldest first."""
        sql = """SELECT device, fingerprint, after, shift, reason, began_at FROM stretches
                 WHERE device = ? AND ifnull(fingerprint = ?, 1) ORDER BY id"""
        return [Stretch(**row) for row in self._rows(sql, device, fingerprint)]

    def _refine_baseline(self, control: Measurement) -> None:
        """Within a transaction: what a control network says of a baseline that is not fixed yet."""
        known = self.baselines(control.device).get(control.fingerprint, Baseline())
        refined = known.after(control)
        if refined != known:
            self._set_baseline(control.fingerprint, refined)

    def _set_baseline(self, fingerprint: str, baseline: Baseline) -> None:
        self._forget_baseline(fingerprint)
        probes: dict[Series, tuple[float, ...]] = {
            (name, None): rounds_s for name, rounds_s in baseline.probes.items()
        }
        series = {**probes, **baseline.controls}
        for (network, build_key), rounds_s in series.items():
            if rounds_s:
                row = {"fingerprint": fingerprint, "network": network}
                row |= {"build_key": build_key or "", "rounds_s": json.dumps(rounds_s)}
                self._insert("baselines", row)

    def _forget_baseline(self, fingerprint: str) -> None:
        self._db.conn.execute("DELETE FROM baselines WHERE fingerprint = ?", [fingerprint])

    def _told(self, row: dict[str, Any], known: dict[str, dict[str, Baseline]]) -> Measurement:
        """A row's measurement at the device's baseline as it is now.

        known: baselines that were read already, by device.
        """
        measurement = rows.measurement(row)
        device = measurement.device
        if device not in known:
            known[device] = self.baselines(device)
        baseline = known[device].get(measurement.fingerprint)
        return measurement if baseline is None else measurement.at(baseline.levels_s)
