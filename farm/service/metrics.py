"""What Prometheus is told, read from the store when it asks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from farm.core.errors import FarmError
from farm.service.answering import Answering
from farm.service.api import lanes

_PATIENCE_S = 0.3
"""How long a scrape waits for what has to be computed."""

metrics = APIRouter(include_in_schema=False)


@metrics.get("/metrics")
async def scrape(request: Request) -> Response:
    verdicts: Verdicts = request.app.state.verdicts
    errors: Mapping[str, float] | None = None
    with suppress(FarmError):  # busy with others: it is told with the next scrape
        lane = lanes(request).thorough
        errors = await lane.soon("errors", lambda own: own.errors(), _PATIENCE_S)
    told = errors or {}
    text = await lanes(request).quick.ask(lambda own: generate_latest(_Told(own, verdicts, told)))
    return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})


class Verdicts:
    """How many measurements had each verdict, by device: what is new is added to what was counted
    before. Of the thread of one lane."""

    def __init__(self) -> None:
        self._upto = 0
        self._counted: Counter[tuple[str, str]] = Counter()

    def now(self, own: Answering) -> Counter[tuple[str, str]]:
        upto, added = own.store.verdicts_after(self._upto)
        self._upto = upto
        self._counted.update(added)
        return self._counted


class _Told(Collector):
    """The families of one scrape."""

    def __init__(self, own: Answering, verdicts: Verdicts, errors: Mapping[str, float]) -> None:
        self._own = own
        self._errors = errors
        self._verdicts = verdicts

    def collect(self) -> Iterator[Metric]:
        yield from _devices(self._own)
        off = GaugeMetricFamily(
            "farm_device_prediction_error_ratio",
            "Median of how far off the predictions of held-out networks were, relative, at the "
            "end of the newest campaign on the device that is done.",
            labels=["device"],
        )
        for device, error in sorted(self._errors.items()):
            off.add_metric([device], error)
        yield off
        counted = CounterMetricFamily(
            "farm_measurements",
            "Measurements of networks by verdict, those that were invalidated since included.",
            labels=["device", "verdict"],
        )
        for labels, n in sorted(self._verdicts.now(self._own).items()):
            counted.add_metric(labels, n)
        yield counted
        yield from _farm(self._own)


def _devices(own: Answering) -> Iterator[Metric]:
    """Of each device of cluster.yaml; what is not known of one is left out."""
    store, now_s = own.store, time.time()
    names = list(own.farm.config.devices)
    held, waiting, lost = store.holders_of(names), store.waiting(), store.lost(names)
    found = dict(_families())

    def say(name: str, device: str, value: float | None) -> None:
        if value is not None:
            found[name].add_metric([device], value)

    for device in names:
        lease, last = held.get(device), own.last_measured(device)
        say("up", device, device not in lost)
        say("held", device, lease is not None)
        say("quarantined", device, store.quarantined(device) is not None)
        say("waiting_requests", device, waiting.get(device, 0))
        if lease is not None and lease.taken_at is not None:
            say("lease_age_seconds", device, max(0.0, now_s - _unix_s(lease.taken_at)))
        if last is not None:
            say("measured_timestamp_seconds", device, _unix_s(last.measured_at))
            say("temperature_celsius", device, last.blocks[-1].telemetry.get("temp_c"))
            say("spread_ratio", device, last.spread)
            say("rejected_blocks_ratio", device, last.disturbed)
    yield from found.values()


def _families() -> Iterator[tuple[str, GaugeMetricFamily]]:
    for name, meaning in _OF_DEVICES.items():
        yield name, GaugeMetricFamily(f"farm_device_{name}", meaning, labels=["device"])


_OF_DEVICES = {
    "up": "0 from when the device was lost until it measures again.",
    "held": "1 while a process of the farm holds the device.",
    "quarantined": "1 while nothing is measured on the device until somebody or a check says so.",
    "waiting_requests": "Requests without an outcome, of campaigns that were not cancelled.",
    "lease_age_seconds": "For how long the device has been held.",
    "measured_timestamp_seconds": "When the device was measured last, in Unix time.",
    "temperature_celsius": "After the last block of its last measurement.",
    "spread_ratio": "Relative spread from session to session of its last measurement.",
    "rejected_blocks_ratio": "Share of the blocks of its last measurement with something against "
    "them.",
}


def _farm(own: Answering) -> Iterator[Metric]:
    waits = {one["claim"] for one in own.queue() if not one["granted"]}
    yield GaugeMetricFamily(
        "farm_queue_depth", "Claims that wait for devices or cores.", value=len(waits)
    )
    states = Counter(one.state for one in own.store.campaigns())
    campaigns = GaugeMetricFamily("farm_campaigns", "Campaigns by state.", labels=["state"])
    for state in ("unfinished", "done", "cancelled"):
        campaigns.add_metric([state], states[state])
    yield campaigns
    builds = GaugeMetricFamily(
        "farm_builds",
        "Compiled networks that campaigns used: built for them, or from cache.",
        labels=["source"],
    )
    for source, n in zip(("built", "cache"), own.store.all_builds(), strict=True):
        builds.add_metric([source], n)
    yield builds


def _unix_s(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
