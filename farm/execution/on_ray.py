"""The farm on Ray: compile actors, and one actor for each device. Only this, `ray_builders` and
`ray_session` import ray."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, TypeVar

import psutil
import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from farm.compile.artifacts import ArtifactStore
from farm.core.errors import (
    BuildError,
    CompilerLost,
    DeviceLost,
    FarmError,
)
from farm.core.hosts import host_name, set_affinity
from farm.core.values import Artifact, DeviceFacts, Target
from farm.execution.actors import DeviceActor, PredictorActor
from farm.execution.attempts import all_failed, found_or_seen
from farm.execution.protocol import (
    BuildJob,
    Built,
    Decided,
    Ended,
    MakeDecider,
    Measured,
    MeasureJob,
)
from farm.execution.ray_builders import Builders
from farm.execution.ray_session import Session
from farm.execution.schedule import Place, housekeeping_cores
from farm.inventory.config import Device
from farm.prediction.decisions import Question

BUILD_TIMEOUT_S = 600.0
"""A network builds in seconds; a compiler that is silent for so long has lost itself."""

GRACE_S = 60.0
"""An agent keeps its own deadline; only when it is so late is its actor taken for dead."""

PULSE_S, SILENT_S = 10.0, 60.0
"""How often the actor of a device that measures is asked whether it lives, and for how long it may
be silent: it answers whatever its device does."""

START_TIMEOUT_S = 120.0

JOIN_S = 15.0
"""For how long a device is waited for at the start whose node is not there: it may be joining."""

DECISION_TIMEOUT_S = 600.0
"""A decision takes a second, but the first one may plan hundreds of networks."""


T = TypeVar("T")


@dataclass(frozen=True)
class _Flight:
    """Something that goes on in an actor. pulse: what it was asked last to show that it lives."""

    work: BuildJob | MeasureJob | Question
    actor: Any
    deadline_s: float
    pulse: Any = None
    asked_s: float = 0.0


def _asks_ray(method: Callable[..., T]) -> Callable[..., T]:
    """Ray says by an OSError without a number that a process of its own cannot be reached."""

    @wraps(method)
    def asked(self: RayExecutor, *arguments: Any) -> T:
        try:
            return method(self, *arguments)
        except OSError as e:
            if e.errno is not None:
                raise
            self._must_live()
            raise DeviceLost(
                f"the Ray cluster cannot be reached any more ({e}); nothing is lost, and "
                "`farm campaign resume latest` goes on"
            ) from e

    return asked


class RayExecutor:
    """Spreads builds and measurements over a Ray cluster: `farm.execution.protocol.Executor`.

    address: of a running cluster, or None to start one on this computer, which ends with us.
    compile_workers: at most so many compile actors on a host.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        artifacts: ArtifactStore,
        address: str | None = None,
        compile_workers: int | None = None,
        make_decider: MakeDecider | None = None,
        seen: Mapping[str, DeviceFacts] | None = None,
    ) -> None:
        self._devices = {device.name: device for device in devices}
        self._seen = seen or {}
        self._artifacts = artifacts
        self._address = address
        self._make_decider = make_decider
        self._predictor: Any = None
        self._session: Session | None = None
        self._own_cores = frozenset(os.sched_getaffinity(0))
        self._agents: dict[str, Any] = {}
        own = self._own_cores if address is None else None
        self._builders = Builders(artifacts.root.absolute(), compile_workers, own)
        self._flights: dict[Any, _Flight] = {}
        self._refused: list[Ended] = []
        self.facts: Mapping[str, DeviceFacts] = {}
        self.away: Collection[str] = ()
        self.decides_at = Place(host_name(), self._own_cores)

    def __enter__(self) -> RayExecutor:
        try:
            resources = {f"device:{name}": 1 for name in self._devices}
            self._session = Session(self._address, len(self._own_cores), resources)
            self._builders.look(START_TIMEOUT_S)
            if not self._builders.slots:
                raise DeviceLost(f"no node of the Ray cluster answers in {START_TIMEOUT_S:g} s")
            self._start_agents()
            self._keep_off()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    @property
    def slots(self) -> Sequence[Place]:
        return self._builders.slots

    def check_target(self, target: Target) -> None:
        _unwrapped(self._builders.at(self.slots[0]).check_target.remote(target), START_TIMEOUT_S)

    @_asks_ray
    def build(self, job: BuildJob, slot: Place) -> None:
        actor = self._builders.at(slot)
        ref = actor.build.remote(job, sorted(slot.cores))
        self._flights[ref] = _Flight(job, actor, time.monotonic() + BUILD_TIMEOUT_S)

    @_asks_ray
    def measure(self, job: MeasureJob) -> None:
        try:
            actor = self._agent(job.device)
        except DeviceLost as error:
            self._refused.append(all_failed(job, error))
            return
        libraries = [a.library.read_bytes() if a else b"" for a in job.artifacts]
        ref = actor.measure.remote(job, libraries)
        longest_s = job.spec.timeout_s * len(job.requests) * job.spec.max_sessions
        now_s = time.monotonic()
        self._flights[ref] = _Flight(job, actor, now_s + longest_s + GRACE_S, asked_s=now_s)

    @_asks_ray
    def decide(self, question: Question) -> None:
        actor = self._central()
        ref = actor.decide.remote(question)
        self._flights[ref] = _Flight(question, actor, time.monotonic() + DECISION_TIMEOUT_S)

    @_asks_ray
    def wait(self, timeout_s: float) -> list[Ended]:
        self._must_live()
        self._builders.look_again()
        refused, self._refused = self._refused, []
        if refused or not self._flights:
            return refused
        ready, _ = ray.wait(list(self._flights), num_returns=1, timeout=timeout_s)
        self._feel_pulses()
        late = [ref for ref, f in self._flights.items() if f.deadline_s < time.monotonic()]
        landed = [self._landed(ref) for ref in ready]
        return landed + [self._overdue(ref) for ref in late if ref not in ready]

    def _feel_pulses(self) -> None:
        """Ask the actors that measure whether they live; the time of a silent one is up."""
        now_s = time.monotonic()
        for ref, flight in self._flights.items():
            if not isinstance(flight.work, MeasureJob):
                continue
            if flight.pulse is not None and ray.wait([flight.pulse], timeout=0)[0]:
                self._flights[ref] = replace(flight, pulse=None)
            elif flight.pulse is not None and now_s > flight.asked_s + SILENT_S:
                self._flights[ref] = replace(flight, deadline_s=now_s)
            elif flight.pulse is None and now_s > flight.asked_s + PULSE_S:
                pulse = flight.actor.lives.options(concurrency_group="pulse").remote()
                self._flights[ref] = replace(flight, pulse=pulse, asked_s=now_s)

    def _must_live(self) -> None:
        assert self._session is not None
        self._session.must_live()

    # Landing

    def _landed(self, ref: Any) -> Ended:
        flight = self._flights.pop(ref)
        try:
            result = ray.get(ref)
        except RayTaskError as e:
            if isinstance(e.cause, FarmError):
                raise e.cause from e
            return self._lost(flight, str(e.cause))
        except RayError as e:
            self._must_live()
            self._builders.expire()  # a node may have died
            return self._lost(flight, str(e).splitlines()[0], killed=True)
        if isinstance(flight.work, BuildJob):
            return self._built(flight.work, *result)
        ended: Measured | Decided = result
        return ended

    def _built(self, job: BuildJob, built: Artifact | BuildError, library: bytes) -> Built:
        if isinstance(built, BuildError):
            return Built(job, built)
        kept = self._artifacts.put(job.build_key, library, built.program, built.build_s)
        return Built(job, kept)

    def _overdue(self, ref: Any) -> Ended:
        flight = self._flights.pop(ref)
        ray.kill(flight.actor, no_restart=False)
        return self._lost(flight, "no answer in time")

    def _lost(self, flight: _Flight, reason: str, killed: bool = False) -> Ended:
        """killed: whether the actor ended though it had not to answer yet."""
        work = flight.work
        if isinstance(work, Question):
            return Decided(work, f"the central predictor died: {reason}")
        if isinstance(work, BuildJob):
            self._builders.shun(flight.actor)
            died = f"the compiler died while it built {work.network.id}: {reason}"
            return Built(work, CompilerLost(died, killed))
        return all_failed(work, DeviceLost(f"the agent of {work.device} died: {reason}"))

    # Starting and stopping

    def _start_agents(self) -> None:
        until_s = time.monotonic() + JOIN_S
        wanted = {f"device:{name}" for name in self._devices}
        while wanted - ray.cluster_resources().keys() and time.monotonic() < until_s:
            time.sleep(0.2)
        asked = {}
        for name in self._devices:  # all of them start at once
            with suppress(DeviceLost):
                asked[name] = self._agent(name).facts.remote()
        self.facts, self.away = found_or_seen(
            self._devices.values(),
            lambda one: _unwrapped(
                asked.get(one.name) or self._agent(one.name).facts.remote(), START_TIMEOUT_S
            ),
            self._seen,
        )

    def _agent(self, name: str) -> Any:
        """The actor of a device. Raises DeviceLost where no node has that device."""
        if name not in self._agents:
            resource = f"device:{name}"
            if resource not in ray.cluster_resources():
                raise DeviceLost(
                    f"no node of the Ray cluster has the resource {resource!r}; on the one that "
                    f"{name} is attached to, run `ray start --address=HEAD "
                    f"--resources='{{\"{resource}\": 1}}'`"
                )
            actor_class = ray.remote(num_cpus=0, max_restarts=-1, concurrency_groups={"pulse": 1})(
                DeviceActor
            )
            cores = sorted(self._own_cores) if self._address is None else None
            options = actor_class.options(resources={resource: 1})
            self._agents[name] = options.remote(self._devices[name], cores)
        return self._agents[name]

    def _central(self) -> Any:
        """The actor of the central predictor, on this computer, where the store is."""
        if self._predictor is None:
            assert self._make_decider is not None
            node = ray.get_runtime_context().get_node_id()
            # It is asked again where it died, and said to have died where it does so each time.
            actor_class = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=2)(
                PredictorActor
            )
            self._predictor = actor_class.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
                runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
            ).remote(self._make_decider, sorted(self.decides_at.cores))
        return self._predictor

    def _keep_off(self) -> None:
        """Move ourselves and Ray's own processes to the cores that devices use least.

        Actors choose their cores themselves. A cluster that others started is left as it is.
        """
        measured = [f.cores for f in self.facts.values() if f.host == host_name()]
        cores = housekeeping_cores(self._own_cores, measured)
        self.decides_at = Place(host_name(), cores)
        if self._address is not None:
            return
        agents = {_unwrapped(a.__ray_call__.remote(_pid), 10.0) for a in self._agents.values()}
        me = psutil.Process()
        set_affinity(cores)
        for process in me.children(recursive=True):
            if agents.isdisjoint({process.pid, *(p.pid for p in _parents(process))}):
                set_affinity(cores, process.pid)

    def _stop(self) -> None:
        for actor in self._agents.values():
            with suppress(RayError):
                ray.get(actor.stop.remote(), timeout=10)
        if self._session is not None:
            self._session.close()
        set_affinity(self._own_cores)


def _pid(actor: Any) -> int:  # noqa: ARG001
    return os.getpid()


def _parents(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return process.parents()
    return []


def _unwrapped(ref: Any, timeout_s: float) -> Any:
    """The result of a call; an error of the farm comes out as what it was."""
    try:
        return ray.get(ref, timeout=timeout_s)
    except RayTaskError as e:
        if isinstance(e.cause, FarmError):
            raise e.cause from e
        raise
    except RayActorError as e:
        raise DeviceLost(str(e).splitlines()[0]) from e
    except GetTimeoutError as e:
        raise DeviceLost(f"an actor did not start within {timeout_s:.0f} s") from e
