"""Which kernels a campaign times before its networks, where, and what it says of them."""

from __future__ import annotations

from dataclasses import dataclass

from farm.core.values import KERNEL, DeviceFacts, Network
from farm.measurement.spec import MeasureSpec
from farm.prediction.selection import Candidates
from farm.store import Plan, Store

FOR_EACH_NETWORK = 12
"""Kernels that are timed for each network that a campaign asks for, at most: they take about as
long as the network, and tell more."""

_EXACT_SHARE = 6
"""So many times fewer where latencies are counted: each kernel is emulated in a process of its own,
whose start takes most of the time."""

_PLANNED = 300
"""Candidates that are planned to see which kernels a space has: of NAS-Bench-201's and FBNet's so
many call all but the rarest, whose times are predicted."""


@dataclass(frozen=True)
class Wanted:
    """networks: of one kernel each, to be timed. said: to a person, a sentence, or nothing."""

    networks: tuple[Network, ...]
    said: str = ""


def most(budget: int, holdout: int) -> int:
    """How many kernels a campaign of so many networks may time on a device."""
    return FOR_EACH_NETWORK * (budget + holdout)


def wanted(
    store: Store, plan: Plan, about: Candidates, facts: DeviceFacts, spec: MeasureSpec
) -> Wanted:
    """What a campaign asks a device for, besides networks: what was timed there as it is now, and
    as it is compiled now, is not timed again."""
    reason = none_on(facts, spec) or _nothing_to_predict(plan, about)
    if reason:
        return Wanted((), f"{facts.device} is asked for networks alone: {reason}")
    from farm.prediction.kernel_times import calls, chosen, entries, timed

    networks = about.pool[:_PLANNED]
    called = calls(store, plan.space, networks, spec.batch)
    if not called.definitions:
        return Wanted((), f"{facts.device} is asked for networks alone: none could be planned")
    known = timed(store, facts, called.definitions)
    codes = chosen(called, known, plan.kernels // (_EXACT_SHARE if facts.exact else 1))
    if not codes:
        return Wanted((), f"{facts.device}: the times of its kernels are in the store")
    store.keep_kernels(called.definitions)
    ones = [Network(KERNEL, code) for code in codes]
    total = len(called.definitions)
    which = f"{len(codes)} kernels" if len(codes) == total else f"{len(codes)} of {total} kernels"
    first = f"{facts.device} begins with {which}, which {plan.space}'s networks are made of"
    once = [network for network in entries(called) if network.code not in known]
    return Wanted((*once, *ones), first)


def _nothing_to_predict(plan: Plan, about: Candidates) -> str | None:
    """Why kernels would teach nothing that a campaign asks for."""
    free = len(about.pool) - len(about.withheld)
    if free > plan.budget:
        return None
    return f"its budget of {plan.budget} covers all that there are"


def none_on(facts: DeviceFacts, spec: MeasureSpec) -> str | None:
    """Why kernels cannot be timed on a device."""
    from farm.compile.cuda import is_cuda

    if facts.target is None:
        return "nothing is compiled for it, so it runs no kernels"
    if is_cuda(facts.target):
        return "a GPU's kernels are not divided up before they are compiled"
    if spec.flush_bytes:
        return "a kernel finds its activations in the cache, and `flush_bytes` empties that"
    return None
