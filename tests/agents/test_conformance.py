"""What every kind of device promises. A new kind is one more function here, and a line in KINDS."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import psutil
import pytest
from pydantic import ValidationError

from agents import agent_class
from farm.campaign.kernels import none_on
from farm.compile import alone
from farm.compile.artifacts import ArtifactStore
from farm.compile.kernel_cache import KernelCache
from farm.core.errors import (
    BadArtifact,
    DeviceError,
    DeviceLost,
    MeasureTimeout,
    NetworkCrashed,
    WrongOutput,
)
from farm.core.values import Artifact, Network
from farm.measurement.agent import Agent
from farm.measurement.record import Job
from tests.agents.conftest import (
    expecting_more,
    expecting_zeros,
    half_of,
    measure_one,
    misbehaving_like,
)
from tests.agents.cuda_stand_in import driver_here
from tests.compile import test_alone as alone_tests

FAULTS: dict[str, type[DeviceError]] = {
    "artifact": BadArtifact,
    "crash": NetworkCrashed,
    "hang": MeasureTimeout,
    "lost": DeviceLost,
    "wrong_output": WrongOutput,
}

NETWORK = Network("test", "conv|3x3")
CELL = Network("nb201", "|none~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|")


@dataclass(frozen=True)
class Case:
    """An agent, an artifact that it measures, and one that makes it fail as wanted.

    network: one that the device knows.
    entry: what its kind needs to have in cluster.yaml.
    """

    kind: str
    agent: Agent
    good: Artifact | None
    faulty: Artifact | None
    network: Network = NETWORK
    entry: Mapping[str, Any] = field(default_factory=dict)
    patience_s: float = 0.5  # shorter than the network that hangs takes


def on_this_cpu(fault: str | None, request: pytest.FixtureRequest) -> tuple[Artifact, Artifact]:
    """A good artifact and a faulty one, for any runner on this computer."""
    good = request.getfixturevalue("artifact")
    if fault in ("crash", "hang", "lost"):
        return good, request.getfixturevalue("misbehaving")(fault)
    names = {"artifact": "truncated", "wrong_output": "wrong", None: "artifact"}
    return good, request.getfixturevalue(names[fault])


def cpu(fault: str | None, request: pytest.FixtureRequest) -> Case:
    kind = agent_class("cpu")
    return Case("cpu", kind("cpu1", kind.options(threads=1)), *on_this_cpu(fault, request))


def ssh(fault: str | None, request: pytest.FixtureRequest) -> Case:
    kind, entry = agent_class("ssh"), request.getfixturevalue("ssh_entry")
    good, faulty = on_this_cpu(fault, request)
    return Case("ssh", kind("ssh1", kind.options(**entry)), good, faulty, entry=entry)


def fake(fault: str | None, request: pytest.FixtureRequest) -> Case:  # noqa: ARG001
    name = "tests.fakes:FakeAgent"
    kind = agent_class(name)
    return Case(name, kind("fake1", kind.options(fault=fault, fault_times=1)), None, None)


def insn_clock(fault: str | None, request: pytest.FixtureRequest) -> Case:
    good = request.getfixturevalue("arm64_artifact")
    faulty = request.getfixturevalue("arm64_faulty")(fault) if fault else None
    kind = agent_class("insn-clock")
    # Without caches it starts in half the time.
    profile = {"cpu": "cortex-a53", "clock_hz": 1e9, "width": 1.0}
    return Case("insn-clock", kind("clock1", kind.options(profile=profile)), good, faulty)


def gpu(fault: str | None, request: pytest.FixtureRequest) -> Case:
    """Where there is no GPU, one that computes zeros stands in for it: kernels are not tested."""
    good: Artifact = request.getfixturevalue("gpu_artifact")
    if not driver_here():
        request.getfixturevalue("stand_in_here")
        good = expecting_zeros(good)
    folder = request.getfixturevalue("tmp_path")
    faulty = good
    if fault in ("crash", "hang", "lost"):
        faulty = misbehaving_like(good, fault, folder)
    elif fault == "artifact":
        faulty = half_of(good, folder / "half.so")
    elif fault == "wrong_output":
        faulty = expecting_more(good)
    kind = agent_class("gpu")
    return Case("gpu", kind("gpu1", kind.options()), good, faulty)


def replay(fault: str | None, request: pytest.FixtureRequest) -> Case:  # noqa: ARG001
    table = request.getfixturevalue("tmp_path") / "test.npz"
    np.savez(table, devices=["slow"], latency_ms=[[100.0]], arch_str=[NETWORK.code])
    kind = agent_class("replay")
    return Case("replay", kind("slow", kind.options(table=str(table))), None, None)


def vela(fault: str | None, request: pytest.FixtureRequest) -> Case:
    return _estimator("vela", fault, request)


def zigzag(fault: str | None, request: pytest.FixtureRequest) -> Case:
    return _estimator("zigzag", fault, request)


def qemu_pi(fault: str | None, request: pytest.FixtureRequest) -> Case:
    good = request.getfixturevalue("arm64_artifact")
    faulty = request.getfixturevalue("arm64_faulty")(fault) if fault else None
    kind = agent_class("qemu-pi")
    agent = kind("emu-pi", kind.options())
    agent.guest = request.getfixturevalue("standing_guest")
    return Case("qemu-pi", agent, good, faulty)


def _estimator(name: str, fault: str | None, request: pytest.FixtureRequest) -> Case:
    if fault == "hang":  # what is known already takes no time
        folder = request.getfixturevalue("tmp_path")
        request.getfixturevalue("monkeypatch").setenv("XDG_CACHE_HOME", str(folder))
    kind = agent_class(name)
    return Case(name, kind("npu1", kind.options()), None, None, CELL, patience_s=0.01)


KINDS = [cpu, fake, gpu, insn_clock, qemu_pi, replay, ssh, vela, zigzag]

QUICK = (cpu, fake, replay)
"""Those that `make quick` has time for: no emulator, estimator or server starts for them."""


RUN_KERNELS = ("cpu", "insn-clock", "qemu-pi", "ssh")
"""Those whose networks are made of kernels that can be timed alone."""


FAULTS_OF = {replay: ("hang",), vela: ("hang",), zigzag: ("hang",)}
"""What can go wrong with a kind that runs no network: it takes no artifact, and nothing of the
network crashes, ends its runner or computes something else. (An estimator that is killed is a lost
device, in test_estimators.py.) With the other kinds, all of `FAULTS`."""


def marked(kind: Any, *more: Any) -> Any:
    """A case of a kind; slow, where that is."""
    return pytest.param(kind, *more, marks=() if kind in QUICK else pytest.mark.slow)


KINDS_AND_FAULTS = [marked(kind, f) for kind in KINDS for f in FAULTS_OF.get(kind, FAULTS)]


@pytest.fixture(params=map(marked, KINDS), ids=[kind.__name__ for kind in KINDS])
def case(request: pytest.FixtureRequest) -> Case:
    made: Case = request.param(None, request)
    return made


@pytest.fixture
def children(request: pytest.FixtureRequest) -> Iterator[set[int]]:
    """The processes below this one before the test; after it, there must be no other.

    A server on this computer may take a moment to see that somebody has left.
    """
    if "qemu_pi" in request.node.name:
        request.getfixturevalue("standing_guest")

    def now() -> set[psutil.Process]:
        return set(psutil.Process().children(recursive=True))

    before = now()
    yield {process.pid for process in before}
    _, alive = psutil.wait_procs(now() - before, timeout=5)
    assert not alive


def test_it_times_a_kernel_or_runs_none(case, quick, tmp_path):
    with case.agent as agent:
        facts = agent.facts()
        if case.kind not in RUN_KERNELS:
            assert none_on(facts, quick)
            return
        assert none_on(facts, quick) is None
        built = alone.artifact(
            alone_tests.CONV, facts.target, ArtifactStore(tmp_path), KernelCache(tmp_path / "k")
        )
        found = measure_one(agent, alone.network_of(alone_tests.CONV), built, quick.of_kernels())
    assert 0 < found.latency_s < 1


def test_facts_stay_and_a_measurement_keeps_everything(case, quick):
    spec = replace(quick, rounds=4, min_samples=7)
    with case.agent as agent:
        facts = agent.facts()
        found = measure_one(agent, case.network, case.good, spec)
        assert agent.facts() == facts
    assert facts.host
    assert list(facts.cores) == sorted(set(facts.cores))
    assert all(isinstance(value, str) for value in {**facts.identity, **facts.info}.values())
    assert (found.network, found.device, found.spec) == (case.network, facts.device, spec)
    assert found.fingerprint == facts.fingerprint
    assert found.build_key == (case.good.build_key if case.good else None)
    assert len(found.blocks) == 4
    assert len(found.warmup_s) == 1
    assert all(len(block.samples_s) >= (1 if facts.exact else 7) for block in found.blocks)
    rows = (*(block.samples_s for block in found.blocks), *found.warmup_s)
    assert all(sample > 0 for row in rows for sample in row)
    assert all(block.runs_per_sample >= 1 for block in found.blocks)
    assert found.device_s >= sum(block.timed_s for block in found.blocks)
    assert all(block.telemetry for block in found.blocks)
    assert found.measured_at.endswith("+00:00")


def test_a_session_has_a_result_for_each_network(case, quick):
    jobs = [Job(case.network, case.good), Job(replace(case.network), case.good)]
    with case.agent as agent:
        sessions = [agent.session(jobs, quick, number) for number in range(2)]
    assert [len(session) for session in sessions] == [2, 2]
    assert all(len(one.blocks) == quick.rounds for session in sessions for one in session)


@pytest.mark.parametrize(
    ("kind", "fault"), KINDS_AND_FAULTS, ids=lambda v: v if isinstance(v, str) else v.__name__
)
@pytest.mark.usefixtures("children")
def test_a_fault_has_its_name_and_the_next_network_is_measured(kind, fault, quick, request):
    case = kind(fault, request)
    impatient = replace(quick, timeout_s=case.patience_s if fault == "hang" else 60.0)
    with case.agent as agent:
        with pytest.raises(DeviceError) as caught:
            measure_one(agent, case.network, case.faulty, impatient)
        assert type(caught.value) is FAULTS[fault]
        assert "\n" not in str(caught.value)
        assert measure_one(agent, case.network, case.good, quick).latency_s > 0


@pytest.mark.usefixtures("children")
def test_is_of_use_only_while_it_is_started(case, quick):
    """A second start is refused and harms nothing; to stop it again does nothing."""
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not started"):
            case.agent.facts()
        with case.agent as agent:
            with pytest.raises(RuntimeError, match="started already"):
                agent.__enter__()
            assert measure_one(agent, case.network, case.good, quick).latency_s > 0
        case.agent.__exit__(None, None, None)
    with pytest.raises(RuntimeError, match="not started"):
        measure_one(case.agent, case.network, case.good, quick)


def test_options_are_strict_and_travel(case):
    options = agent_class(case.kind).options
    entry = case.entry
    assert pickle.loads(pickle.dumps(options(**entry))) == options(**entry)
    with pytest.raises(ValidationError, match="treads"):
        options(**entry, treads=1)
    with pytest.raises(ValidationError):
        options(**{**entry, "cores": "0"})
