"""Tunes the kernels of a search space for one device: `farm.compile.tuning` with a real device.

What was chosen is in the device's `target`, and so in its fingerprint: a new revision begins with
it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from farm.compile.artifacts import ArtifactStore
from farm.compile.compiler import compiler
from farm.compile.groups import Group
from farm.compile.kernel_cache import kernel_cache
from farm.core.errors import DeviceUnfit, UnknownName, UsageError
from farm.core.values import KERNEL, Artifact, DeviceFacts, Network, Target
from farm.execution.attempts import make_agent
from farm.inventory import edit
from farm.inventory.config import load
from farm.measurement.agent import Agent
from farm.measurement.record import Job
from farm.measurement.spec import MeasureSpec
from farm.spaces import SPACES, space
from farm.store import Holding, Store
from farm.store.edge import translated

if TYPE_CHECKING:
    import onnx

    from farm.compile.tuning import Choice
    from farm.inventory.config import Device

SPEC = MeasureSpec(warmup_s=0.005, rounds=2).of_kernels()
"""Candidates are measured in several passes (`tuning.PASSES`)."""


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

    @property
    def changed(self) -> tuple[tuple[Choice, int], ...]:
        """Choices of another schedule than the rule's, with their uses; what saves most first."""
        pairs = [pair for pair in zip(self.choices, self.uses, strict=True) if pair[0].gain > 0]
        return tuple(sorted(pairs, key=lambda pair: -pair[0].gain))

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
        """Keeps the evidence: every sample, the device's fingerprint and the date. StoreError."""
        with translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.to_json(), indent=1))


@dataclass(frozen=True)
class Tuned:
    """What was found, and what became of it.

    evidence: the file that it is kept in. written: whether cluster.yaml has a new `target`.
    """

    tuning: Tuning
    evidence: Path
    written: bool


@dataclass(frozen=True)
class Progress:
    """Of so many `kernels` some are `done`, and some of those `changed`."""

    device: str
    kernels: int
    done: int
    changed: int


Watch = Callable[[Progress], None]


def tune_space(
    path: Path,
    name: str,
    searched: str,
    networks: int = 50,
    seed: int = 0,
    store: Path | None = None,
    watch: Watch = lambda _: None,
) -> Tuned:
    """Tunes a device for a search space, and writes what was chosen into cluster.yaml.

    searched: the space, of which random `networks` say which kernels there are, and how often.
    path, store: see `Farm.open`. Where the rule's schedules stay, so does the file.
    Raises UnknownName, UsageError, ConfigError, LeaseLost, DeviceError, BuildError.
    """
    config = load(path)
    device, models = config.device(name), _models(searched, networks, seed)
    folder = store or config.store
    with Store(folder) as opened, Holding(opened, "farm tune") as holding:
        holding.wait_for_devices([name])
        tuning = tune_device(device, models, holding, watch)
        evidence = folder / "tuned" / f"{name}-{searched}.json"
        tuning.write(evidence)
    found = tuning.facts.target
    if tuning.target != found:
        edit.with_target(path, name, tuning.target).save()
    return Tuned(tuning, evidence, written=tuning.target != found)


def _models(name: str, networks: int, seed: int) -> Iterable[onnx.ModelProto]:
    """Random networks of a search space. UnknownName, UsageError."""
    if name not in SPACES:
        raise UnknownName("search space to tune for", name, SPACES)
    searched = space(name)
    if not 1 <= networks <= searched.size:
        raise UsageError(f"--networks must be 1 to {searched.size} for {name}, got {networks}")
    if seed < 0:
        raise UsageError(f"--seed must be at least 0, got {seed}")
    return map(searched.model, searched.sample(networks, np.random.default_rng(seed)))


def kernels_of(models: Iterable[onnx.ModelProto]) -> Mapping[Group, int]:
    """The fused groups of networks, with how many networks need each."""
    from farm.compile.alone import calls_of

    counts: Counter[Group] = Counter()
    for model in models:
        counts.update({kernel for kernel in calls_of(model) if isinstance(kernel, Group)})
    return counts


def tune_device(
    device: Device,
    models: Iterable[onnx.ModelProto],
    holding: Holding,
    watch: Watch = lambda _: None,
) -> Tuning:
    """Measures the schedules of all kernels of some networks on a device that is held.

    Takes about a second of the device for each kernel. Raises DeviceError, BuildError.
    """
    from farm.compile.target import untuned
    from farm.compile.tuning import tune, tuned_target

    artifacts = ArtifactStore(holding.store.folder / "artifacts")
    with make_agent(device) as agent:
        facts = agent.facts()
        own = _tunable(facts)
        target, numbers = untuned(own), count()
        counts = kernels_of(models)
        kernels = [group for group in counts if len(compiler().schedules(group, target)) > 1]

        def measure(candidates: Sequence[Artifact]) -> list[float]:
            with holding.turn(facts):
                return _seconds(agent, candidates, next(numbers))

        found: list[Choice] = []
        watch(Progress(device.name, len(kernels), 0, 0))
        for choice in tune(kernels, target, measure, artifacts, kernel_cache(artifacts)):
            found.append(choice)
            changed = sum(one.gain > 0 for one in found)
            watch(Progress(device.name, len(kernels), len(found), changed))
    uses = tuple(counts[choice.group] for choice in found)
    return Tuning(facts, tuple(found), uses, tuned_target(own, found))


def _tunable(facts: DeviceFacts) -> Target:
    """The target of a device whose kernels can be timed. Raises DeviceUnfit."""
    from farm.compile import cuda

    if facts.target is None:
        raise DeviceUnfit(f"nothing is compiled for {facts.device}, so it has no kernels to tune")
    if cuda.is_cuda(facts.target):
        raise DeviceUnfit(f"only CPUs run kernels that can be tuned, {facts.device} is a GPU")
    if facts.exact:
        raise DeviceUnfit(
            f"kernels are tuned by timing them, and {facts.device} counts instead; "
            "tune the real device that it stands for"
        )
    return facts.target


def _seconds(agent: Agent, artifacts: Sequence[Artifact], number: int) -> list[float]:
    """The fastest sample of each: of one kernel, what is slower waited for something. Of all its
    calls together (`farm.compile.alone`), which candidates of one kernel have alike."""
    jobs = [Job(Network(KERNEL, a.build_key[:16]), a) for a in artifacts]
    sessions = agent.session(jobs, SPEC, number)
    return [min(min(block.samples_s) for block in session.blocks) for session in sessions]
