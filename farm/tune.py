"""Tunes the kernels of a search space for one device: `farm.compile.tuning` with a real device."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents import Agent
from farm.compile.artifacts import ArtifactStore
from farm.compile.groups import Group
from farm.errors import DeviceUnfit
from farm.executor import kernel_cache, make_agent
from farm.types import Artifact, DeviceFacts, Job, MeasureSpec, Network, Target

if TYPE_CHECKING:
    import onnx

    from farm.compile.tuning import Choice
    from farm.config import Device

SPEC = MeasureSpec(warmup_s=0.005, rounds=2, block_s=0.01)
"""A kernel runs for microseconds, and is measured in several passes (`tuning.PASSES`)."""


@dataclass(frozen=True)
class Tuning:
    """What was chosen for a device, and how it is known.

    uses: how many of the networks need the kernel of each choice, in order.
    target: what to write down as the device's `target` in cluster.yaml.
    """

    facts: DeviceFacts
    choices: tuple[Choice, ...]
    uses: tuple[int, ...]
    target: Target
    measured_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat())

    @property
    def gain(self) -> float:
        """The share of all networks' time in these kernels that the choices save."""
        before_s = after_s = 0.0
        for choice, uses in zip(self.choices, self.uses, strict=True):
            rule_s = uses * min(next(iter(choice.samples_s.values())))
            before_s, after_s = before_s + rule_s, after_s + (1 - choice.gain) * rule_s
        return 1 - after_s / before_s if before_s else 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "device": self.facts.device,
            "fingerprint": self.facts.fingerprint,
            "identity": dict(self.facts.identity),
            "measured_at": self.measured_at,
            "gain": self.gain,
            "target": self.target,
            "choices": [
                {**choice.to_json(), "networks": uses}
                for choice, uses in zip(self.choices, self.uses, strict=True)
            ],
        }

    def write(self, path: Path) -> None:
        """Keeps the evidence: every sample, the device's fingerprint and the date."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.to_json(), indent=1))


def kernels_of(models: Iterable[onnx.ModelProto]) -> Mapping[Group, int]:
    """The fused groups of networks, with how many networks need each."""
    from farm.compile import fuse, graph
    from farm.compile.prepare import prepared

    counts: Counter[Group] = Counter()
    for model in models:
        calls = fuse.plan(graph.read(prepared(model))).calls
        counts.update({call.kernel for call in calls if isinstance(call.kernel, Group)})
    return counts


def tune_device(
    device: Device, models: Iterable[onnx.ModelProto], artifacts: ArtifactStore
) -> Tuning:
    """Measures the schedules of all kernels of some networks on a device.

    Takes about a second of the device for each kernel. Raises DeviceError, BuildError.
    """
    from farm.compile import cuda
    from farm.compile.target import untuned
    from farm.compile.tuning import tune, tuned_target

    counts = kernels_of(models)
    with make_agent(device) as agent:
        facts = agent.facts()
        if facts.target is None or cuda.is_cuda(facts.target):
            raise DeviceUnfit(f"only CPUs run kernels that can be tuned, {device.name} is another")
        target = untuned(facts.target)
        numbers = count()

        def measure(candidates: Sequence[Artifact]) -> list[float]:
            return _seconds(agent, candidates, next(numbers))

        found = tuple(tune(counts, target, measure, artifacts, kernel_cache(artifacts)))
    uses = tuple(counts[choice.group] for choice in found)
    return Tuning(facts, found, uses, tuned_target(facts.target, found))


def _seconds(agent: Agent, artifacts: Sequence[Artifact], number: int) -> list[float]:
    """The fastest sample of each: of one kernel, what is slower was disturbed."""
    jobs = [Job(Network("kernel", a.build_key[:16]), a) for a in artifacts]
    sessions = agent.session(jobs, SPEC, number)
    return [min(min(block.samples_s) for block in session.blocks) for session in sessions]
