"""What devices that are estimated have in common: no artifact, one exact value for each network."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field

from agents.emulated.exact import ExactAgent
from farm.core.errors import DeviceLost, DeviceUnfit, MeasureTimeout, blaming
from farm.core.extras import of_extra
from farm.core.hosts import set_affinity
from farm.core.values import Network
from farm.measurement.record import Block, Job, Session
from farm.measurement.spec import MeasureSpec
from farm.spaces import SPACES, space
from farm.spaces.graph import Graph


class EstimatorOptions(BaseModel):
    """core: the host's logical CPU that the estimator works on; the last one by default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    core: int | None = Field(None, ge=0)


@dataclass(frozen=True)
class Estimate:
    """seen: what the estimator says besides, as the measurement's telemetry."""

    latency_s: float
    seen: Mapping[str, float]


class Model(Protocol):
    """An estimator of one piece of hardware."""

    def identity(self) -> Mapping[str, str]:
        """What a latency depends on. Raises DeviceUnfit where the estimator is not installed."""

    def estimate(self, graph: Graph, run: Run) -> Estimate:
        """The latency of a network. Raises DeviceError."""


@dataclass(frozen=True)
class Run:
    """Runs the programs of one estimate: on one core, with one deadline for all of them."""

    core: int
    deadline_s: float

    def __call__(self, argv: Sequence[str], folder: Path, text: str = "") -> Finished:
        """Runs a program in `folder`; text: its stdin.

        Raises MeasureTimeout at the deadline, and DeviceLost for a program that was killed.
        """
        process = subprocess.Popen(
            argv,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        set_affinity([self.core], process.pid)
        try:
            left_s = self.deadline_s - time.monotonic()
            out, errors = process.communicate(text, timeout=max(left_s, 0))
        except subprocess.TimeoutExpired as e:
            raise MeasureTimeout(f"no estimate in time; {argv[0]} was stopped") from e
        finally:
            _end(process)
        if process.returncode < 0:
            name = signal.Signals(-process.returncode).name
            raise DeviceLost(f"the estimator died of {name}; it is started again for the next")
        return Finished(process.returncode, out, errors)


@dataclass(frozen=True)
class Finished:
    """A program that ended by itself."""

    status: int
    out: str
    errors: str

    @property
    def last_words(self) -> str:
        lines = (self.errors.strip() or self.out.strip()).splitlines() or ["no message"]
        return lines[-1].strip()


def _end(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def installed_version(distribution: str, extra: str) -> str:
    """The version of an estimator. Raises DeviceUnfit where it is not installed."""
    with of_extra(extra, DeviceUnfit):
        found = version(distribution)
    return found  # noqa: RET504 - for mypy, a `with` may end without a `return` in it


class EstimatorAgent(ExactAgent):
    """An agent around a `Model`. A kind is a subclass with its options and `_model`."""

    options: ClassVar[type[BaseModel]] = EstimatorOptions

    def __init__(self, name: str, options: Any) -> None:
        super().__init__(name, options.core)
        self._model: Model = self._make_model(options)

    def _make_model(self, options: Any) -> Model:
        raise NotImplementedError

    def _target(self) -> None:
        return None

    def _identity(self) -> Mapping[str, str]:
        return self._model.identity()

    def session(self, jobs: Sequence[Job], spec: MeasureSpec, number: int) -> list[Session]:  # noqa: ARG002
        """See `farm.measurement.agent.Agent.session`. An estimate is exact, so that a block is one
        sample."""
        self.facts()
        sessions = []
        for index, job in enumerate(jobs):
            with blaming(index):
                sessions.append(self._session(job.network, spec))
        return sessions

    def _session(self, network: Network, spec: MeasureSpec) -> Session:
        started_s = time.monotonic()
        run = Run(self._cores[0], started_s + spec.timeout_s)
        found = self._model.estimate(graph_of(network), run)
        block = Block((found.latency_s,), 1, found.seen)
        blocks = (block,) * spec.rounds
        device_s = max(time.monotonic() - started_s, sum(block.timed_s for block in blocks))
        return Session((found.latency_s,), blocks, device_s)


def graph_of(network: Network) -> Graph:
    """The layers of a network. Raises DeviceUnfit for one that is not of a space with graphs."""
    if network.space not in SPACES:
        raise DeviceUnfit(
            f"{network.id}: an estimated device reads layers from a search space's own graphs, "
            f"and takes networks of {', '.join(SPACES)}"
        )
    found: Any = space(network.space)
    graph: Graph = found.graph(network)
    return graph
