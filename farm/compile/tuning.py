"""Which schedule a device runs a kernel fastest with: measured once, for all networks of a space.

A candidate is compiled as a network of that one kernel, which whoever has the device measures. What
was chosen travels in the target, under `schedules`, so that it is in the keys of kernels and
artifacts and in the device's fingerprint:

    {"kind": "llvm", "mcpu": "x86-64-v3", ..., "schedules": {"0f3a...": [1, 8, 3], ...}}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from farm.compile import target as targets
from farm.compile.alone import artifact, name_of, scheduled, schedules_of
from farm.compile.artifacts import ArtifactStore
from farm.compile.compiler import compiler
from farm.compile.fuse import Plan
from farm.compile.groups import Group, Schedule
from farm.compile.kernel_cache import KernelCache
from farm.core.values import Artifact, Target

MARGIN = 0.03
"""A candidate must be so much faster than the rule's choice, in both halves of the passes."""

PASSES = 4
"""Times that all candidates of a kernel are measured."""

Measure = Callable[[Sequence[Artifact]], Sequence[float]]
"""Seconds of a run of each of some compiled networks, measured on the device in turns."""


@dataclass(frozen=True)
class Choice:
    """samples_s: seconds of each candidate, the rule's first; chosen: one of them."""

    group: Group
    samples_s: Mapping[Schedule, tuple[float, ...]]
    chosen: Schedule

    @property
    def gain(self) -> float:
        """The share of the rule's time that the chosen schedule saves."""
        rule = next(iter(self.samples_s))
        return 1 - min(self.samples_s[self.chosen]) / min(self.samples_s[rule])

    def to_json(self) -> dict[str, Any]:
        samples = [[*astuple(s), list(seconds)] for s, seconds in self.samples_s.items()]
        return {"kernel": self.group.name, "chosen": astuple(self.chosen), "samples_s": samples}


def tune(
    groups: Iterable[Group],
    target: Target,
    measure: Measure,
    store: ArtifactStore,
    kernels: KernelCache,
) -> Iterator[Choice]:
    """A choice for each group that can be written in several ways. Raises BuildError."""
    for group in dict.fromkeys(groups):
        candidates = compiler().schedules(group, target)
        if len(candidates) < 2:
            continue
        alone = [
            artifact(replace(group, schedule=schedule), target, store, kernels)
            for schedule in candidates
        ]
        passes = [measure(alone) for _ in range(PASSES)]
        samples_s = dict(zip(candidates, zip(*passes, strict=True), strict=True))
        yield Choice(group, samples_s, choose(samples_s))


def choose(samples_s: Mapping[Schedule, Sequence[float]]) -> Schedule:
    """The fastest schedule, if it is faster than the first by `MARGIN` in both halves. Pure."""
    rule = next(iter(samples_s))
    best = min(samples_s, key=lambda schedule: min(samples_s[schedule]))
    halves = [(samples_s[best][i::2], samples_s[rule][i::2]) for i in (0, 1)]
    surely = all(min(a) < (1 - MARGIN) * min(b) for a, b in halves)
    return best if surely else rule


def tuned_target(target: Target, choices: Iterable[Choice]) -> Target:
    """The target with what was chosen, where that is not what the rule chooses anyway.

    What it says of kernels that nothing was chosen for stays: search spaces are tuned one by one.
    """
    plain, chosen = targets.untuned(target), dict(schedules_of(target))
    for choice in choices:
        chosen.pop(name_of(choice.group), None)
        if choice.chosen != next(iter(choice.samples_s)):
            chosen[name_of(choice.group)] = list(astuple(choice.chosen))
    options = {"tag": plain} if isinstance(plain, str) else dict(plain)
    return {**options, targets.SCHEDULES: chosen} if chosen else plain


def tuned(plan: Plan, target: Target) -> Plan:
    """The plan with the schedules of a target."""
    if not schedules_of(target):
        return plan
    calls = tuple(replace(call, kernel=scheduled(call.kernel, target)) for call in plan.calls)
    return replace(plan, calls=calls)
