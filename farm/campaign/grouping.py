"""Which of a device's requests are measured together, and which come first. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence

from farm.core.values import KERNEL, Artifact
from farm.store import Request

GROUP = 8
"""Networks that a device measures together: their blocks take turns in the same sessions."""

KERNEL_GROUP = 48
"""The same for kernels, which are short: the control networks of a session are shared by many."""

LOOK_AHEAD = 4
"""Groups of pending requests of a device, oldest first, that are looked at: bounds a step's work.
"""

Ready = tuple[Request, Artifact | None]
"""A request, and what it is measured with; None on a device that needs no artifact."""

Manner = tuple[bool, float | None]
"""How a request is measured: whether it is a kernel, and to what half-width, if it says so."""


def is_control(request: Request) -> bool:
    """Whether it is for a control network."""
    return request.purpose == "control"


def is_kernel(request: Request) -> bool:
    """Whether it is for a kernel alone."""
    return request.network.space == KERNEL


def manner(request: Request) -> Manner:
    """How a request is measured."""
    return is_kernel(request), request.half_width


def group_size(kernels: bool) -> int:
    """How many are measured together at most."""
    return KERNEL_GROUP if kernels else GROUP


def next_of(requests: Sequence[Request]) -> list[Request]:
    """The first ones: `LOOK_AHEAD` groups of networks, and as many of kernels."""
    taken, found = Counter[bool](), []
    for request in requests:
        kernel = is_kernel(request)
        taken[kernel] += 1
        if taken[kernel] <= LOOK_AHEAD * group_size(kernel):
            found.append(request)
    return found


def urgency(request: Request) -> tuple[bool, bool, int]:
    """Lower of what comes first: control networks, then queries, then what was asked for first."""
    return not is_control(request), request.campaign is not None, request.id


def without_small_groups(
    ready: Sequence[Ready], incomplete: Collection[Manner], alike: bool | None
) -> list[Ready]:
    """What can be measured without waiting for more, as what is measured together is measured
    better. Control networks come with others, or not at all.

    incomplete: manners of which something is built. alike: whether what is being decided on joins
        all networks, or only those that were decided on before; None while nothing is.
    """
    manners = set(incomplete)
    if alike is not None:
        networks = [request for request, _ in ready if not is_kernel(request)]
        manners |= {manner(request) for request in networks if alike or request.purpose == "learn"}
    own = Counter(manner(request) for request, _ in ready if not is_control(request))
    small = {one for one in manners if own[one] < group_size(one[0])}
    if not own.keys() - small:
        return []
    return [one for one in ready if is_control(one[0]) or manner(one[0]) not in small]


def in_one_session(
    ready: Sequence[Ready], returning: bool, strikes: Callable[[Request], int]
) -> list[Ready]:
    """What a device measures next: of one that is returning, since it was lost, little; and alone,
    what something died of before. strikes: how often something died of a request."""
    controls = [one for one in ready if is_control(one[0])]
    if returning:
        return controls or [min(ready, key=lambda one: strikes(one[0]))]
    trusted = [one for one in ready if not strikes(one[0])]
    if any(not is_control(request) for request, _ in trusted):
        return _in_one_manner(trusted)
    suspects = [one for one in ready if not is_control(one[0])]
    return [*suspects[:1], *controls]


def _in_one_manner(ready: Sequence[Ready]) -> list[Ready]:
    """What is measured together: what is measured in the same manner as the oldest of it. Control
    networks last: they vouch for what is stored before."""
    controls = [one for one in ready if is_control(one[0])]
    others = [one for one in ready if not is_control(one[0])]
    kind = manner(others[0][0]) if others else (False, None)
    same = [one for one in others if manner(one[0]) == kind]
    return same[: group_size(kind[0])] + controls
