"""Between the farm's values and the rows of the database."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from farm.core.checks import plain
from farm.core.values import Network
from farm.measurement.record import Control, Failure, Measurement
from farm.measurement.spec import MeasureSpec
from farm.store.packing import packed, unpacked
from farm.store.values import Request


def now(precision: str = "milliseconds") -> str:
    """UTC in ISO 8601; with milliseconds in every row but where two may come within one."""
    return datetime.now(UTC).isoformat(timespec=precision)


def request(row: dict[str, Any]) -> Request:
    network = Network.from_id(row["network"])
    asked = row["campaign"], network, row["device"], row["purpose"], row["half_width"]
    return Request(row["id"], *asked)


SHARED = ("spec", "controls")
"""Columns that many measurements have alike: each text is stored once, in `texts`."""

_TEXT = "(SELECT text FROM texts WHERE texts.id = measurements.{column}) AS {column}_text"
MEASURED = ", ".join(["measurements.*", "packed", *(_TEXT.format(column=c) for c in SHARED)])
WITH_SAMPLES = "measurements JOIN samples ON samples.measurement = measurements.id"
"""What `measurement` reads, and from where."""


def measurement_row(request: int, m: Measurement) -> dict[str, Any]:
    """The columns of `SHARED` are texts here, or None for nothing."""
    controls = [vars(control) for control in m.controls]
    return {
        "request": request,
        "network": m.network.id,
        "device": m.device,
        "fingerprint": m.fingerprint,
        "build_key": m.build_key,
        "spec": _spec_text(m.spec),
        "exact": int(m.exact),
        "clock_probe_s": m.clock_probe_s,
        "warmup_taken_s": m.warmup_taken_s,
        "device_s": m.device_s,
        "measured_at": m.measured_at,
        "controls": json.dumps(controls) if controls else None,
        "group_spread": m.group_spread,
        "rules": m.rules,
        "verdict": m.verdict,
    }


def samples_row(id: int, m: Measurement) -> dict[str, Any]:
    return {"measurement": id, "packed": packed(m.blocks, m.warmup_s, m.spec.sample_s)}


def measurement(row: dict[str, Any]) -> Measurement:
    blocks, warmup_s = unpacked(row["packed"])
    return Measurement(
        network=Network.from_id(row["network"]),
        device=row["device"],
        fingerprint=row["fingerprint"],
        build_key=row["build_key"],
        spec=_spec(row["spec_text"]),
        blocks=blocks,
        warmup_s=warmup_s,
        exact=bool(row["exact"]),
        clock_probe_s=row["clock_probe_s"],
        warmup_taken_s=row["warmup_taken_s"],
        device_s=row["device_s"],
        measured_at=row["measured_at"],
        controls=() if row["controls"] is None else _controls(row["controls_text"]),
        group_spread=row["group_spread"],
        rules=row["rules"],
        given_verdict=row["verdict"],
    )


@lru_cache
def _spec_text(spec: MeasureSpec) -> str:
    """Of all measurements of a campaign."""
    return json.dumps(asdict(spec))


@lru_cache
def _spec(text: str) -> MeasureSpec:
    """Rows by the thousand have the same."""
    return MeasureSpec(**json.loads(text))


@lru_cache
def _controls(text: str) -> tuple[Control, ...]:
    """Networks that were measured together have the same."""
    return tuple(_control(control) for control in json.loads(text))


def _control(value: dict[str, Any]) -> Control:
    network, build_key = value["series"]
    return Control((network, build_key), tuple(map(tuple, value["blocks_s"])), value["level_s"])


def failure(row: dict[str, Any]) -> Failure:
    """A final failure: from a row that joins its request."""
    network = Network.from_id(row["network"])
    return Failure(network, row["device"], row["kind"], plain(row["message"]), retryable=False)
