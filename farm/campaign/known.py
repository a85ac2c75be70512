"""What a campaign finds known already: it is not measured again, unless that is what it is for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from farm.core.values import Network
from farm.measurement.record import Measurement
from farm.measurement.spec import MeasureSpec
from farm.prediction.selection import Candidates
from farm.store import Plan, Store

Known = Mapping[Network, tuple[int, Measurement]]
"""The newest measurement of each network on a device, with its id; networks oldest first."""


def observed(store: Store, space: str, device: str, spec: MeasureSpec) -> Known:
    """What is known of a space on a device as it is now, of the quantity that `spec` is of."""
    found = store.observed(device, space)
    return {m.network: (id, m) for id, m in found if m.spec.quantity == spec.quantity}


def to_learn(about: Candidates, found: Known) -> list[Network]:
    """The networks of it that something may be learnt from; how precisely they are known is weighed
    and no condition."""
    networks = list(found)
    return [n for n, may in zip(networks, about.allowed(networks), strict=True) if may]


def reuse(store: Store, campaign: str, device: str, spec: MeasureSpec, found: Known) -> int:
    """Let what is known be the outcome of a campaign's requests; of how many it is. One that only
    judges must be known as precisely as the campaign asks."""
    if not found:
        return 0
    waiting = {r.network: r for r in store.pending_by_device(campaign).get(device, {}).values()}
    used = [
        (waiting[network], id)
        for network, (id, m) in found.items()
        if network in waiting and (waiting[network].purpose == "learn" or _is_precise(m, spec))
    ]
    with store.together():
        for request, id in used:
            store.reuse(request, id)
    return len(used)


def is_as_asked(m: Measurement, spec: MeasureSpec) -> bool:
    """Whether a measurement is of the quantity that `spec` is of, and as precise."""
    return m.spec.quantity == spec.quantity and _is_precise(m, spec)


def _is_precise(m: Measurement, spec: MeasureSpec) -> bool:
    """Whether it was to be known as well as is asked now, or came out as well."""
    return min(m.spec.half_width, m.half_width) <= spec.half_width


def repetition(store: Store, campaign: str) -> Plan:
    """The plan that measures a campaign's networks anew, and no others."""
    plan = store.campaign(campaign).plan
    asked = Counter(request.device for request in store.requests(campaign, "learn"))
    budget = max(1, *asked.values(), 0)
    nothing_else = {"target_rho": None, "max_error": None, "decide": None, "device_seconds": None}
    nothing_else |= {"search": None, "deadline": None}
    return replace(plan, budget=budget, fresh=True, **nothing_else)  # type: ignore[arg-type]


def begin_repetition(store: Store, campaign: str, plan: Plan) -> str:
    """Store a campaign that asks for the same networks on the same devices; its name."""
    name = store.add_campaign(plan)
    asked = Counter[str]()
    for request in store.requests(campaign):
        if request.purpose in ("holdout", "learn"):
            asked_for = [request.network], [request.device], request.purpose
            store.add_requests(name, *asked_for, request.half_width)
            asked[request.device] += request.purpose == "learn"
    for device in plan.devices:
        if asked[device] < plan.budget:
            store.stop(name, device, f"{campaign} asked it for {asked[device]} networks")
    return name
