"""Networks as sums of kernel times: which kernels they call, and what these take on a device.

The sum is known without measuring a network; `predictors.models.kernel_sum` corrects it by those
that were measured.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from farm.compile import alone
from farm.compile.costs import features, work_of
from farm.core.values import KERNEL, DeviceFacts, Network
from farm.measurement.estimator import Z_95
from farm.measurement.record import Measurement
from farm.prediction import planned
from farm.store import Store
from predictors import FloatArray

ENTRIES = 3
"""Kernels, the ones with the least to do, that are called a single time as well: what that takes
longer is what a network pays once."""

LEAST_STD = 0.005
"""Relative; of a kernel's time in a network, where its interval is narrower."""

_ENTRY_SHARE = 0.3
"""Of the entry, one standard deviation: it is longer the more weights a network has."""

_CALL_SHARE = 0.5
"""Of the entry, what a call may take longer in a network than among its like: a tenth of a
microsecond, by which networks of kernels of a few microseconds were off."""

_FEWEST_TO_PREDICT = 8
"""Timed kernels from which others are predicted."""


@dataclass(frozen=True, eq=False)
class Calls:
    """counts: (N, K), how often each network calls each of the K kernels, NaN for a network that
    cannot be planned. definitions: of the kernels, by code, in the order of the columns."""

    definitions: Mapping[str, str]
    counts: FloatArray


@dataclass(frozen=True)
class KernelTime:
    """A kernel on a device. std: of the time's logarithm. measured: or else predicted."""

    latency_s: float
    std: float
    measured: bool


@dataclass(frozen=True, eq=False)
class KernelTimes:
    """Of a device. entry_s: what a network takes besides its kernels, and a standard deviation.

    device_s: what measuring them took.
    """

    times: Mapping[str, KernelTime]
    entry_s: tuple[float, float]
    device_s: float


@dataclass(frozen=True, eq=False)
class KernelSum:
    """latency_s: (N,), NaN where not known. uncertainty: (N, K + 2), what is uncertain makes of it,
    relative, one standard deviation: each kernel's time, the entry's, and that of a call."""

    latency_s: FloatArray
    uncertainty: FloatArray


def calls(store: Store, name: str, networks: Sequence[Network], batch: int) -> Calls:
    """Which kernels networks of a search space call: as the store has it, else planned now, and
    kept. 3 ms of a core for a network of a space that writes graphs, 12 ms for others."""
    planner = planned.planner()
    known = store.calls(planner, batch, networks)
    missing = list(dict.fromkeys(n for n in networks if n not in known))
    if missing:
        definitions, found = planned.plan(store.models, name, missing, batch)
        if store.can_write:
            store.keep_kernels(definitions)
            store.keep_calls(planner, batch, found)
        known |= found
    else:
        definitions = {}
    codes = list(dict.fromkeys(chain.from_iterable(known.values())))
    column = {code: i for i, code in enumerate(codes)}
    counts = np.zeros((len(networks), len(codes)))
    nothing: dict[str, int] = {}  # which no plan is
    each = [known.get(network, nothing) for network in networks]
    counts[[row for row, own in enumerate(each) if not own]] = np.nan
    rows = np.repeat(np.arange(len(each)), [len(own) for own in each])
    columns = [column[code] for own in each for code in own]
    counts[rows, columns] = [n for own in each for n in own.values()]
    kept = store.kernels() if set(codes) - set(definitions) else {}
    return Calls({code: definitions.get(code) or kept[code] for code in codes}, counts)


def times(
    store: Store,
    facts: DeviceFacts,
    wanted: Mapping[str, str],
    only: Collection[str] | None = None,
) -> KernelTimes | None:
    """What kernels take on a device, as it is now and as they are compiled now; those that were
    never timed are predicted. None where too few were.

    wanted: definitions by code. only: codes of the times to use; None for all.
    """
    measured = _measured(store, facts)
    if not measured or facts.target is None:
        return None
    kept = {**store.kernels(), **wanted}
    timed: dict[str, KernelTime] = {}
    once: dict[str, float] = {}
    for network, m in measured.items():
        if only is not None and not alone.is_once(network) and network.code not in only:
            continue
        if not _holds(m, facts, kept):
            continue
        kernel = alone.defined(kept[alone.kernel_code(network)])
        if alone.is_once(network):
            once[alone.kernel_code(network)] = m.latency_s
        else:
            std = max(LEAST_STD, m.half_width / Z_95)
            timed[network.code] = KernelTime(m.latency_s / alone.calls_in(kernel), std, True)
    if not timed:
        return None
    unknown = [code for code in wanted if code not in timed]
    found = timed | _predicted(timed, kept, unknown)
    device_s = sum(m.device_s for m in measured.values())
    return KernelTimes(found, _entry(timed, once), device_s)


def sums(called: Calls, known: KernelTimes) -> KernelSum:
    """The sum for each network."""
    each = [known.times.get(code) for code in called.definitions]
    time_s = np.array([0.0 if t is None else t.latency_s for t in each])
    std_s = np.array([0.0 if t is None else t.std * t.latency_s for t in each])
    entry_s, entry_std_s = known.entry_s
    latency_s = called.counts @ time_s + entry_s
    latency_s[called.counts[:, [t is None for t in each]].any(axis=1)] = np.nan
    parts_s = np.empty((len(latency_s), len(each) + 2))
    parts_s[:, :-2] = called.counts * std_s
    parts_s[:, -2] = entry_std_s
    parts_s[:, -1] = _CALL_SHARE * entry_s * called.counts.sum(axis=1)
    return KernelSum(latency_s, parts_s / latency_s[:, None])


def kernel_sums(
    store: Store, device: str, networks: Sequence[Network], batch: int
) -> KernelSum | None:
    """The sums of networks of one search space on a device; None where none of its kernels was
    ever timed as it is now."""
    seen = store.facts(device)
    if not networks or not seen or not _measured(store, seen[-1]):
        return None
    called = calls(store, networks[0].space, networks, batch)
    known = times(store, seen[-1], called.definitions)
    return None if known is None else sums(called, known)


def chosen(called: Calls, known: Collection[str], most: int) -> list[str]:
    """Codes of the kernels to time, those first that tell most of the networks' sums, so that at
    most so many of them are timed. known: codes that need no timing."""
    from predictors.models.kernel_times import most_telling

    codes = list(called.definitions)
    timed = [place for place, code in enumerate(codes) if code in known]
    if len(timed) >= min(most, len(codes)):
        return []
    kernels = [alone.defined(text) for text in called.definitions.values()]
    work = np.array([work_of(kernel) for kernel in kernels])
    # What does next to nothing still takes the time of a call.
    spent = np.nan_to_num(called.counts) * (work + np.median(work))
    spent = spent[spent.any(axis=1)]
    shares = spent / spent.sum(axis=1, keepdims=True)
    costs = np.array([features(kernel) for kernel in kernels])
    return [codes[i] for i in most_telling(costs, shares, timed, most - len(timed))]


def entries(called: Calls) -> list[Network]:
    """The kernels with the least to do, called once."""
    work = {code: work_of(alone.defined(text)) for code, text in called.definitions.items()}
    least = sorted(work, key=lambda code: (work[code], code))[:ENTRIES]
    return [Network(KERNEL, code + alone.ONCE) for code in least]


def timed(store: Store, facts: DeviceFacts, definitions: Mapping[str, str]) -> set[str]:
    """Which of some kernels need no timing on a device: codes, also of those called once."""
    kept = {**store.kernels(), **definitions}
    return {n.code for n, m in _measured(store, facts).items() if _holds(m, facts, kept)}


def _measured(store: Store, facts: DeviceFacts) -> dict[Network, Measurement]:
    """The newest of each kernel that holds on the device as it is."""
    found = store.as_now(store.measurements(device=facts.device, purpose=KERNEL))
    return {m.network: m for m in found}


def _holds(m: Measurement, facts: DeviceFacts, definitions: Mapping[str, str]) -> bool:
    """Whether a kernel would be compiled for a device as it was when it was timed."""
    kernel = alone.defined(definitions[alone.kernel_code(m.network)])
    return m.build_key == alone.key(kernel, facts.target or "", alone.is_once(m.network))


def _entry(timed: Mapping[str, KernelTime], once: Mapping[str, float]) -> tuple[float, float]:
    """Where nothing tells: about as much as the least kernel."""
    longer_s = [once[code] - timed[code].latency_s for code in once if code in timed]
    if not longer_s:
        least_s = min(t.latency_s for t in timed.values())
        return least_s, least_s
    middle_s = max(0.0, float(np.median(longer_s)))
    return middle_s, max(_ENTRY_SHARE * middle_s, float(np.std(longer_s)))


def _predicted(
    timed: Mapping[str, KernelTime], definitions: Mapping[str, str], unknown: Sequence[str]
) -> dict[str, KernelTime]:
    if not unknown or len(timed) < _FEWEST_TO_PREDICT:
        return {}
    from predictors.models.kernel_times import predicted

    known, wanted = (
        np.array([features(alone.defined(definitions[code])) for code in codes])
        for codes in (timed, unknown)
    )
    found = predicted(known, np.array([t.latency_s for t in timed.values()]), wanted)
    pairs = zip(found.latency_s, found.std, strict=True)
    return {
        code: KernelTime(float(s), float(std), False)
        for code, (s, std) in zip(unknown, pairs, strict=True)
    }
