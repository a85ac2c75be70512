"""Watches over the devices of a campaign: asks for control networks, judges them, keeps what
follows.

`farm.devices.control_chart` decides; here are the rows. Everything can be derived from them
again, so that a run that died anywhere is taken up by the next one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from farm.core.values import DeviceFacts
from farm.devices import controls, equivalence
from farm.devices.control_chart import KEPT_ROUNDS, LEVEL_ROUNDS, control_chart
from farm.inventory.config import ControlPolicy
from farm.measurement.drift_correction import Baseline, change, series
from farm.measurement.record import Failure, Measurement, Series
from farm.measurement.spec import MeasureSpec
from farm.measurement.verdict import MANY_DISTURBED
from farm.store import ControlRound, Quarantine, Request, Revision, Store, Stretch

RECHECKS = 3
"""How often a run measures control networks of a device in quarantine, after a pause each: in
all, so that one which works only for moments does not keep a campaign for ever."""

_OLD_ROUNDS = 16
"""The last rounds of an old revision that a new one is compared with."""

_OFF = ControlPolicy(every=0)


@dataclass
class _Watch:
    """What is known of a device.

    rounds: of its present fingerprint, stretch and spec that count; earlier: of the stretches
        before; older: of the revision before, as long as it is not decided whether its results
        still hold, with that revision's base.
    spaces: of the networks that it was to measure in this run.
    waiting: control networks that were asked for; coming: those of them that have ended.
    since: measurements since the last round; None before the first one of the run.
    checked: how often the run measured it in quarantine; retry_s: when it may do so next.
    disturbed: share of the blocks of its last round that were disturbed; None before there is one.
    """

    facts: DeviceFacts
    policy: ControlPolicy
    quarantine: Quarantine | None
    rounds: list[ControlRound] = field(default_factory=list)
    earlier: list[ControlRound] = field(default_factory=list)
    older: list[ControlRound] = field(default_factory=list)
    base: str | None = None
    decided: bool = False
    spaces: set[str] = field(default_factory=set)
    waiting: list[Request] = field(default_factory=list)
    coming: dict[int, tuple[int, Measurement | Failure]] = field(default_factory=dict)
    since: int | None = None
    checked: int = 0
    retry_s: float = 0.0
    disturbed: float | None = None

    @property
    def on(self) -> bool:
        """Whether control networks are measured here."""
        return self.policy.every > 0 and bool(controls.controls_on(self.facts, self.spaces))

    @property
    def rechecking(self) -> bool:
        """Whether it is in quarantine, and may get out of it by itself."""
        held = self.quarantine is not None and not self.quarantine.manual
        return held and self.on and self.checked < RECHECKS

    @property
    def open(self) -> bool:
        """Whether more control networks are needed to decide on an older revision."""
        return self.base is not None and not self.decided


class Monitor:
    """One run's watch over devices.

    facts: as they were found. specs: how each device measures; its keys are the devices that are
        watched. policies: how often its control networks are, never where it has none.
    away: devices that are lost; their facts are what was found when they were seen last.
    clock: seconds that only grow.
    events: what a person should know of the devices, a sentence each, as it happened.
    """

    def __init__(
        self,
        store: Store,
        facts: Mapping[str, DeviceFacts],
        specs: Mapping[str, MeasureSpec],
        policies: Mapping[str, ControlPolicy],
        away: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._specs = specs
        self._policies = policies
        self._clock = clock
        self.events: list[str] = []
        self._away = set(away)
        for device in specs.keys() - self._away:
            store.see(facts[device])
        self._watches = {device: self._watch(facts[device]) for device in specs}

    def barred(self, device: str) -> bool:
        """Whether nothing but control networks may be measured on a device."""
        return self._watches[device].quarantine is not None

    def calm(self, device: str) -> bool:
        """Whether a device was left alone, and at its baseline, when its control networks were
        measured last."""
        watch = self._watches[device]
        if watch.disturbed is None or watch.disturbed > MANY_DISTURBED or not watch.rounds:
            return False
        known = self._store.baselines(device)[watch.facts.fingerprint]
        return abs(_off(known, watch.rounds[-1:])) <= watch.policy.tolerated

    def pause_s(self, device: str) -> float | None:
        """How long until a device in quarantine is looked at again; None for one that is not."""
        watch = self._watches[device]
        return max(0.0, watch.retry_s - self._clock()) if watch.rechecking else None

    def expect(self, device: str, coming: Sequence[str]) -> None:
        """Take note of what a device measures next; ask for the control networks due with it.

        coming: the search space of each.
        """
        watch = self._watches[device]
        watch.spaces |= set(coming)
        if watch.on and not watch.waiting and self._due(watch, len(coming)):
            networks = controls.controls_on(watch.facts, watch.spaces)
            watch.waiting = self._store.control_requests(networks, device)

    def waiting(self, device: str) -> list[Request]:
        """The control networks that were asked for and have not ended."""
        watch = self._watches[device]
        return [request for request in watch.waiting if request.id not in watch.coming]

    def close(self) -> None:
        """Nothing else is left to measure: ask for what is needed to trust what was."""
        for watch in self._watches.values():
            if watch.quarantine is None and (watch.since or (watch.since == 0 and watch.open)):
                watch.since = watch.policy.every

    def see(self, facts: DeviceFacts) -> None:
        """Take note of what a device is now; a round of control networks that it changed in is
        over."""
        changed = facts.fingerprint != self._watches[facts.device].facts.fingerprint
        if changed or facts.device in self._away:
            self._away.discard(facts.device)
            self._store.see(facts)
        if changed:
            self._watches[facts.device] = self._watch(facts)

    def lose(self, device: str) -> None:
        """Take note that a device was lost: what its control networks would have shown is open,
        and they are the first that is measured when it is back."""
        watch = self._watches[device]
        watch.waiting, watch.coming, watch.since = [], {}, None
        watch.checked += watch.quarantine is not None
        watch.retry_s = self._clock() + watch.policy.pause_s

    def collect(self, request: Request, row: int, outcome: Measurement | Failure) -> None:
        """Take note of what was recorded as `row`, and act on it."""
        watch = self._watches[request.device]
        if request in watch.waiting:
            watch.coming[request.id] = (row, outcome)
            ended = [ended for _, ended in watch.coming.values()]
            lost = all(isinstance(one, Failure) and one.retryable for one in ended)
            if len(watch.coming) == len(watch.waiting) and not lost:
                self._end_round(request.device)
        elif watch.since is not None:
            # Failures are looked into sooner: the device may be the reason.
            watch.since += 1 if isinstance(outcome, Measurement) else 1 + watch.policy.every // 3

    def _watch(self, facts: DeviceFacts) -> _Watch:
        store, device = self._store, facts.device
        policy = self._policies.get(device, _OFF)
        watch = _Watch(facts, policy, store.quarantined(device))
        if not watch.on:
            return watch
        stretches = store.stretches(device, facts.fingerprint)
        after = stretches[-1].after if stretches else 0
        watch.rounds = self._rounds(device, facts.fingerprint, KEPT_ROUNDS, after)
        all_rounds = self._rounds(device, facts.fingerprint, KEPT_ROUNDS) if stretches else []
        watch.earlier = [one for one in all_rounds if one.last_id <= after]
        bases = {revision.fingerprint: revision.base for revision in store.revisions(device)}
        watch.decided = facts.fingerprint in bases
        earlier = [f.fingerprint for f in store.facts(device) if f.fingerprint != facts.fingerprint]
        known = [bases[fingerprint] for fingerprint in earlier if fingerprint in bases]
        if known and not watch.decided:
            watch.base = known[-1]
            watch.older = self._rounds(device, watch.base, _OLD_ROUNDS)
        return watch

    def _rounds(
        self, device: str, fingerprint: str, last: int, after: int = 0
    ) -> list[ControlRound]:
        spec, first = self._specs[device], LEVEL_ROUNDS
        return self._store.controls(
            device, controls.NETWORKS, first, last, fingerprint, spec, after=after
        )

    def _due(self, watch: _Watch, coming: int) -> bool:
        """What is measured together with control networks counts as measured before them."""
        if watch.quarantine is not None:
            return watch.rechecking and self._clock() >= watch.retry_s
        since = (watch.since or 0) + coming
        if watch.since is None or (since > 0 and since >= watch.policy.every):
            return True
        return watch.open and len(watch.rounds) < equivalence.REVISION_ROUNDS and since > 0

    def _end_round(self, device: str) -> None:
        watch = self._watches[device]
        ended = [watch.coming[request.id] for request in watch.waiting]
        recheck = watch.quarantine is not None
        watch.waiting, watch.coming, watch.since = [], {}, 0
        watch.checked += recheck
        watch.retry_s = self._clock() + watch.policy.pause_s
        good = {row: outcome for row, outcome in ended if isinstance(outcome, Measurement)}
        if not good:
            self._failed(device, [o for _, o in ended if isinstance(o, Failure)])
            return
        if recheck:
            self._store.release(device)
            watch.quarantine = None
            self.events.append(f"{device} measures again")
        watch.disturbed = max(m.disturbed for m in good.values())
        latency_s = {series(m): m.latency_s for m in good.values()}
        at = good[max(good)].measured_at
        watch.rounds.append(ControlRound(at, max(good), watch.facts.fingerprint, latency_s))
        self._judge(device)
        self._decide(device)

    def _judge(self, device: str) -> None:
        """Looks at the control chart: a device that drifted begins a stretch of its own, in which
        it is measured as before. What its control networks show is divided out."""
        watch = self._watches[device]
        rounds, earlier = ([r.latency_s for r in rs] for rs in (watch.rounds, watch.earlier))
        chart = control_chart(rounds, watch.policy.tolerated, earlier)
        if chart.out:
            new = chart.last_good + 1
            after = watch.rounds[new - 1].last_id
            watch.earlier = [*watch.earlier, *watch.rounds[:new]][-KEPT_ROUNDS:]
            watch.rounds = watch.rounds[new:]
            self._begin_stretch(device, chart.shift, after)
        watch.rounds = _trimmed(watch.rounds)

    def _begin_stretch(self, device: str, shift: float, after: int) -> None:
        """A device runs slower than it can for many reasons and faster for none: of one that is
        faster than at its baseline, the baseline was taken while it was kept busy."""
        watch = self._watches[device]
        fingerprint = watch.facts.fingerprint
        known = self._store.baselines(device)[fingerprint]
        now = _baseline(watch.rounds, known.probes)
        off = _off(known, watch.rounds)
        faster = off < -watch.policy.tolerated
        reason = f"{device} drifted by {math.expm1(shift):+.0%}"
        stretch = Stretch(device, fingerprint, after, shift, reason)
        again = self._store.begin_stretch(stretch, now if faster else None)
        if faster:
            told = "its baseline was taken while it was busy, and all is told at the new one"
        elif off > watch.policy.tolerated:
            told = f"it is {off:+.0%} off its baseline; that is divided out, for wider intervals"
        else:
            told = "it is at its baseline again"
        repeated = f"; {again} networks are measured again" if again else ""
        self.events.append(f"{reason}: {told}{repeated}")

    def _failed(self, device: str, failures: Collection[Failure]) -> None:
        """No control network could be measured: the device is ill if it once could, else has no
        control networks."""
        watch = self._watches[device]
        if not watch.rounds:
            watch.policy = _OFF
            return
        kinds = sorted({f"{failure.kind}: {failure.message}" for failure in failures})
        reason = f"its control networks fail: {kinds[0]}"
        self._store.quarantine(device, reason)
        watch.quarantine = self._store.quarantined(device)
        self.events.append(f"{device} is in quarantine: {reason}")

    def _decide(self, device: str) -> None:
        """Once there are enough rounds of control networks: whether what was measured before still
        holds."""
        watch = self._watches[device]
        enough = not watch.older or len(watch.rounds) >= equivalence.REVISION_ROUNDS
        if watch.decided or not enough:
            return
        mine = watch.facts.fingerprint
        if watch.base is None:
            revision = Revision(mine, device, mine, "first", 1.0, "first seen")
        else:
            older, newer = ([r.latency_s for r in rs] for rs in (watch.older, watch.rounds))
            said = equivalence.decide(older, newer)
            base, factor = mine, 1.0
            if said.decision != "invalidated":
                baselines = self._store.baselines(device)
                base = watch.base
                # Latencies are told at the baseline of their revision, not at that of all rounds.
                factor = change(baselines[base], baselines[mine]) or said.factor
            revision = Revision(mine, device, base, said.decision, factor, said.reason)
        self._store.add_revision(revision)
        watch.decided, watch.older = True, []


def _off(known: Baseline, rounds: Sequence[ControlRound]) -> float:
    """How much longer than at a baseline control networks took, relatively."""
    return (change(known, _baseline(rounds)) or 1.0) - 1


def _baseline(
    rounds: Sequence[ControlRound],
    probes: Mapping[str, tuple[float, ...]] = MappingProxyType({}),
) -> Baseline:
    levels: dict[Series, tuple[float, ...]] = {}
    for one in rounds:
        for control, latency_s in one.latency_s.items():
            levels[control] = (*levels.get(control, ()), latency_s)
    return Baseline(levels, probes)


def _trimmed(rounds: list[ControlRound]) -> list[ControlRound]:
    """What a chart needs: those that define the levels, and the last ones."""
    first, rest = rounds[:LEVEL_ROUNDS], rounds[LEVEL_ROUNDS:]
    return first + rest[-KEPT_ROUNDS:]
