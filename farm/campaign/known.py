"""What a campaign finds known already: it is not measured again."""

from __future__ import annotations

from farm.core.values import Network
from farm.measurement.record import Measurement, MeasureSpec
from farm.prediction.hwl import quantity
from farm.prediction.selection import Candidates
from farm.store import Store


def to_learn(store: Store, about: Candidates, device: str, spec: MeasureSpec) -> list[Network]:
    """The networks of the campaign's space that a device's latency is known of, oldest first, and
    that something may be learnt from; how precisely they are known is weighed and no condition."""
    found = store.observed(device, about.searched.name)
    same = dict.fromkeys(m.network for _, m in found if quantity(m.spec) == quantity(spec))
    networks = list(same)
    return [n for n, may in zip(networks, about.allowed(networks), strict=True) if may]


def reuse(store: Store, campaign: str, device: str, spec: MeasureSpec) -> int:
    """Let what is known be the outcome of a campaign's requests; of how many it is. One that only
    judges must be known as precisely as the campaign asks."""
    plan = store.campaign(campaign).plan
    waiting = {r.network: r for r in store.pending(campaign) if r.device == device}
    outcomes = {
        m.network: (id, m)
        for id, m in store.observed(device, plan.space)
        if m.network in waiting and quantity(m.spec) == quantity(spec)
    }
    used = 0
    for network, (id, m) in outcomes.items():
        if waiting[network].purpose == "learn" or _is_precise(m, spec):
            store.reuse(waiting[network], id)
            used += 1
    return used


def _is_precise(m: Measurement, spec: MeasureSpec) -> bool:
    """Whether it was to be known as well as is asked now, or came out as well."""
    return min(m.spec.half_width, m.half_width) <= spec.half_width
