"""Which networks a campaign chose to learn from, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from farm.measurement.record import Measurement
from farm.store import Choice, Store


@dataclass(frozen=True)
class Chosen:
    """measurement: what came of the choice; None as long as nothing has, or where it failed."""

    choice: Choice
    measurement: Measurement | None

    def to_json(self) -> dict[str, Any]:
        """The keys that a program can rely on. Latencies in seconds, null where there is none."""
        found = self.measurement
        low_s, high_s = found.interval_s if found else (None, None)
        return {
            "network": self.choice.network.id,
            "device": self.choice.device,
            "why": self.choice.why,
            "half_width": self.choice.half_width,
            "latency_s": found.latency_s if found else None,
            "low_s": low_s,
            "high_s": high_s,
        }


def choices(store: Store, campaign: str) -> list[Chosen]:
    """Those of a campaign (or `latest`), in the order in which they were chosen.

    Raises UnknownName.
    """
    name = store.campaign(campaign).id
    came = {(m.device, m.network): m for m in store.measurements(name, "learn")}
    return [Chosen(one, came.get((one.device, one.network))) for one in store.choices(name)]


def told(store: Store, campaign: str) -> dict[str, Any]:
    """The same for a program. Raises UnknownName."""
    return {"choices": [one.to_json() for one in choices(store, campaign)]}
