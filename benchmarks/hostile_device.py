"""A device that answers wrongly, and the requests that a farm sends to a right one."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from agents import linux, runner_protocol
from agents.cpu import CpuAgent, CpuOptions
from agents.pipes import Replies, local_runner
from benchmarks import mutations
from benchmarks.networks import host_target, model_of
from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build
from farm.core.checks import TEXT_BYTES
from farm.core.errors import DeviceLost
from farm.core.values import Artifact, Network
from farm.execution.attempts import attempt_measure
from farm.execution.protocol import MeasureJob
from farm.measurement.record import Failure, Job, Measurement
from farm.measurement.spec import MeasureSpec
from farm.store import Plan, Store

CELL = "nb201/|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
"""As little as a network can be."""

SPEC = MeasureSpec(
    min_sessions=1, max_sessions=1, rounds=2, block_s=1e-3, warmup_s=0.0, timeout_s=2.0
)
_LONGEST_S = 30.0
"""That a mutated network may take: no answer is waited for any longer."""


def artifact(folder: Path) -> Artifact:
    return build(model_of(CELL), host_target(), ArtifactStore(folder / "artifacts"))


def requests(folder: Path) -> list[dict[str, Any]]:
    """What a farm asks a runner."""
    job = Job(Network.from_id(CELL), artifact(folder))
    assert job.artifact
    library = str(job.artifact.library)
    session = runner_protocol.session_request([job, job], [library] * 2, SPEC, 0, 1, [0])
    session["cores"] = []
    facts = {"op": "facts", "read": list(linux.FACT_FILES), "timeout_s": 5.0}
    network = session["networks"][0]
    run = {"op": "run", "networks": [network], "threads": 1, "cores": [], "seed": 0}
    small = {**network, "program": {**network["program"], "outputs": []}}
    cheap = {**session, "networks": [small], "timeout_s": 0.3}
    asked = (
        facts,
        {"op": "facts"},
        {**run, "timeout_s": 0.5},
        {**session, "timeout_s": 1.0},
        cheap,
    )
    return [{"id": number, **request} for number, request in enumerate(asked)]


class _Hostile:
    """The pipe to a runner whose answers are recorded, and one of them made wrong."""

    def __init__(self, recorded: Mapping[str, list[dict[str, Any]]]) -> None:
        self._recorded = recorded
        self._asked = 0
        self.rng = random.Random()
        self.answers: list[bytes] = []
        self.wrong_at = -1

    def request(self, message: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:  # noqa: ARG002
        self._asked += 1
        reply = {**self._recorded[message["op"]][0], "id": self._asked}
        line = json.dumps(reply).encode()
        if self.wrong_at == 0:
            line = mutations.line(reply, self.rng)
            self.answers.append(line[:100_000])
        self.wrong_at -= 1
        replies = Replies()
        for start in range(0, len(line) + 1, 1 << 16):
            replies.feed((line + b"\n")[start : start + (1 << 16)])
        found = replies.find(self._asked)
        if found is None:
            raise DeviceLost("the runner is silent")
        return found

    def close(self) -> None:
        pass


class _Agent(CpuAgent):
    def __init__(self, pipe: _Hostile) -> None:
        super().__init__("hostile", CpuOptions())
        self.hostile = pipe

    def _runner(self) -> _Hostile:
        return self.hostile


class Farm:
    """A farm with a store and one device, which answers wrongly."""

    def __init__(self, folder: Path) -> None:
        self._store = Store(folder / "store")
        self._artifact = artifact(folder)
        self._agent = _Agent(_Hostile(_recorded(self._artifact)))
        plan = Plan("nb201", ("hostile",), 1, 0, 0, (SPEC,))
        self._campaign = self._store.add_campaign(plan)
        self._network = 0
        self._stored = 0

    def __enter__(self) -> Self:
        self._agent.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._agent.__exit__(*exception)
        self._store.__exit__(*exception)

    def measure(self, rng: random.Random, answers: list[bytes]) -> Iterator[str]:
        """Measures a network as a campaign does, one answer of three being wrong; what is stored
        and cannot be true. answers: gets the wrong ones."""
        self._network += 1
        networks = [Network("nb201", f"n{self._network}-{i}") for i in range(2)]
        self._store.add_requests(self._campaign, networks, ["hostile"], "learn")
        asked = self._store.pending(self._campaign)
        pipe = self._agent.hostile
        pipe.rng, pipe.answers, pipe.wrong_at = rng, answers, rng.randrange(3)
        job = MeasureJob("hostile", SPEC, tuple(asked), (self._artifact,) * len(asked))
        measured = attempt_measure(self._agent, job)
        if measured.facts is not None:
            self._store.see(measured.facts)
        for request, outcome in zip(asked, measured.outcomes, strict=True):
            self._store.record(request, outcome)
            self._stored += isinstance(outcome, Measurement)
            yield from wrong_in(outcome)

    def read_back(self) -> Iterator[str]:
        """What the store has and cannot be true, or has not though it was recorded."""
        found = self._store.measurements(campaign=self._campaign)
        if len(found) != self._stored:
            yield f"{self._stored} were stored, {len(found)} are read"
        for one in found:
            yield from wrong_in(one)


def wrong_in(outcome: Measurement | Failure) -> Iterator[str]:
    """What of an outcome cannot be true."""
    if isinstance(outcome, Failure):
        text = outcome.message
        if outcome.kind == "internal":
            yield f"an exception: {text}"
        if len(text.encode()) > TEXT_BYTES or not text.isprintable():
            yield f"a text: {text!r}"
        return
    most = max(SPEC.min_samples, math.ceil(SPEC.block_s / SPEC.sample_s) + 1)
    for block in outcome.blocks:
        if not all(1e-9 <= sample < 1e9 for sample in block.samples_s):
            yield f"samples {block.samples_s}"
        if not 0 < len(block.samples_s) <= most or not 0 < block.runs_per_sample <= 10**9:
            yield f"{len(block.samples_s)} samples of {block.runs_per_sample} runs"
        if not all(math.isfinite(value) for value in block.telemetry.values()):
            yield f"telemetry {block.telemetry}"
    if len(outcome.blocks) != SPEC.rounds or not 0 < outcome.latency_s < math.inf:
        yield f"{len(outcome.blocks)} blocks, {outcome.latency_s} s"


def _recorded(built: Artifact) -> dict[str, list[dict[str, Any]]]:
    """What a right runner answers to the two requests of a measurement of two networks."""
    job = Job(Network.from_id(CELL), built)
    library = str(built.library)
    session = runner_protocol.session_request([job] * 2, [library] * 2, SPEC, 0, 1, [])
    facts = {"op": "facts", "read": list(linux.FACT_FILES)}
    with local_runner() as pipe:
        return {
            "facts": [pipe.request(facts, _LONGEST_S)],
            "session": [pipe.request(session, _LONGEST_S)],
        }
