"""The farm as a Python object; every command is a thin layer over it.

from farm import Farm

summary = Farm.open("cluster.yaml").launch(space="nb201", devices=["cpu1"], budget=40)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from farm.campaign.loop import Campaign, Watch
from farm.campaign.query import measure_network
from farm.campaign.summary import Summary, summarise
from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build_key
from farm.compile.kernels import kernel_cache
from farm.core.errors import BuildError, UnknownName, UsageError
from farm.core.values import DeviceFacts, Network
from farm.devices import controls
from farm.devices.certificate import LOAD_S, certify
from farm.devices.health import Health, health
from farm.execution.attempts import attempt_build, make_agent
from farm.execution.inline import InlineExecutor
from farm.execution.protocol import BuildJob, Executor
from farm.inventory.config import Device, FarmConfig, load
from farm.measurement.record import Failure, Job, Measurement
from farm.measurement.verdict import VERDICTS
from farm.prediction.hwl import Encoding, entry, known, normalisation
from farm.prediction.selection import Chooser
from farm.spaces import parse_network, space
from farm.spaces.base import ONNX
from farm.store import Plan, Store, StoredModels, StoreLock

EXECUTORS = ("ray", "inline")
MEASURE = ("never", "missing", "always")


@dataclass(frozen=True)
class Farm:
    """A cluster.yaml and its store. Methods raise what `farm.core.errors` draws."""

    config: FarmConfig

    @classmethod
    def open(cls, path: str | Path = "cluster.yaml", store: str | Path | None = None) -> Farm:
        """Read and check cluster.yaml. store: a folder to use instead of the one it names."""
        config = load(Path(path))
        return cls(config if store is None else replace(config, store=Path(store).absolute()))

    def launch(
        self,
        space: str,
        devices: Sequence[str],
        budget: int,
        holdout: int = 10,
        seed: int = 0,
        select: str = "active",
        device_seconds: float | None = None,
        executor: str = "ray",
        watch: Watch = lambda _: None,
        input_shape: str | None = None,
    ) -> Summary:
        """Start a campaign and work until it is done. For the arguments see `farm.store.Plan`.

        space: a name, or `onnx:FOLDER` for the .onnx files in a folder.
        input_shape: of networks from ONNX files, such as `1,3,224,224`, where theirs is dynamic.
        """
        plan, models = self._plan(
            space, devices, budget, holdout, seed, select, device_seconds, input_shape
        )
        with StoreLock(self.config.store), Store(self.config.store) as store:
            with self._executor(executor, plan.devices) as running:
                store.models.keep(models)
                name = store.add_campaign(plan)
                self._run(name, store, running, watch)
            return summarise(store, name)

    def resume(
        self,
        campaign: str = "latest",
        executor: str = "ray",
        watch: Watch = lambda _: None,
        again: Collection[str] = (),
    ) -> Summary:
        """Go on with a campaign that was killed or cancelled.

        again: the verdicts that are measured again, such as `contended`; nothing else is measured
            twice. Raises UsageError for what is no verdict.
        """
        if unknown := sorted(set(again) - set(VERDICTS)):
            raise UsageError(
                f"no verdict is called {unknown[0]!r}; there are {', '.join(VERDICTS)}"
            )
        with StoreLock(self.config.store), Store(self.config.store, create=False) as store:
            stored = store.campaign(campaign)
            measured = store.measured(stored.id) if again else []
            repeated = [request for request, found in measured if found.verdict in again]
            if repeated or stored.state != "done" or store.was_cut_short(stored.id):
                with self._executor(executor, stored.plan.devices) as running:
                    store.invalidate_results(repeated, "asked for again")
                    self._run(stored.id, store, running, watch)
            return summarise(store, stored.id)

    def cancel(self, campaign: str) -> str:
        """Ask a campaign to end, here or in another process; its name."""
        with self.store() as store:
            name = store.campaign(campaign).id
            store.cancel(name)
            return name

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The store, for reading. Raises StoreError where there is none yet."""
        with Store(self.config.store, create=False) as store:
            yield store

    def facts(self, device: str) -> DeviceFacts:
        """Start the device's agent and ask what it finds."""
        with InlineExecutor([self.config.device(device)], self._artifacts()) as executor:
            return executor.facts[device]

    def check(self, device: str, load_s: float = LOAD_S) -> dict[str, Any]:
        """Examine a device for a minute and keep what was found, see `farm.devices.certificate`.

        load_s: how long it is kept busy to see whether it slows down.
        """
        if not load_s > 0:
            raise UsageError(f"--load-seconds must be positive, got {load_s}")
        chosen = self.config.device(device)
        with StoreLock(self.config.store), Store(self.config.store) as store:
            with make_agent(chosen) as agent:
                facts = agent.facts()
                jobs = [self._job(network, facts) for network in _examined(facts)]
                certificate = certify(agent, jobs, chosen.spec, load_s)
            store.see(facts)
            store.add_certificate(device, facts.fingerprint, certificate.to_json())
            return store.certificate(device) or {}

    def health(self, facts: DeviceFacts) -> Health:
        """What the store knows of a device that was found like this."""
        if not (self.config.store / "farm.db").exists():
            return Health(None, (), None, ())
        with self.store() as store:
            device = self.config.device(facts.device)
            return health(store, facts, device.spec, device.controls.tolerated)

    def _job(self, network: Network, facts: DeviceFacts) -> Job:
        if facts.target is None:
            return Job(network, None)
        model = space(network.space).model(network)
        content = model.SerializeToString(deterministic=True)
        job = BuildJob(build_key(model, facts.target), network, content, facts.target)
        found = self._artifacts().get(job.build_key)
        built = found or attempt_build(job, self._artifacts(), kernel_cache(self._artifacts()))
        if isinstance(built, BuildError):
            raise built
        return Job(network, built)

    def hwl(
        self,
        network: str,
        measure: str = "missing",
        executor: str = "inline",
        input_shape: str | None = None,
    ) -> Encoding:
        """The HWL encoding of a network, as `SPACE/CODE` or the path of an .onnx file.

        measure: `never`, only what is `missing` in the store, or `always` all references.
        input_shape: of an .onnx file, such as `1,3,224,224`, where its own is dynamic.
        """
        parsed, models = self._network(network, input_shape)
        if measure not in MEASURE:
            raise UnknownName("way to measure", measure, MEASURE)
        references = self.config.references
        if not references:
            raise UsageError(f"no reference devices; write `references:` into {self.config.path}")
        with Store(self.config.store, create=measure != "never") as store:
            cached = {
                device: known(store, parsed, self.config.device(device)) for device in references
            }
            wanted = [
                device
                for device in references
                if measure == "always" or (measure == "missing" and cached[device] is None)
            ]
            fresh = self._measure(parsed, models, wanted, store, executor) if wanted else {}
            entries = [entry(device, fresh.get(device), cached[device]) for device in references]
            return Encoding(parsed, tuple(entries), normalisation(store, references))

    def _network(self, text: str, input_shape: str | None) -> tuple[Network, Mapping[str, bytes]]:
        """A network, and its model if it comes from a file."""
        if not text.endswith(".onnx"):
            _refuse_shape(input_shape, text)
            return parse_network(text, StoredModels(self.config.store)), {}
        from farm.spaces.onnx.files import import_file

        models = import_file(Path(text), input_shape)
        return Network(ONNX, *models), models

    def _measure(
        self,
        network: Network,
        models: Mapping[str, bytes],
        devices: Sequence[str],
        store: Store,
        executor: str,
    ) -> dict[str, Measurement | Failure]:
        with StoreLock(self.config.store), self._executor(executor, devices) as running:
            store.models.keep(models)
            return measure_network(
                network, [self.config.device(d) for d in devices], store, running, self._artifacts()
            )

    def _plan(
        self,
        space_name: str,
        devices: Sequence[str],
        budget: int,
        holdout: int,
        seed: int,
        select: str,
        device_seconds: float | None,
        input_shape: str | None,
    ) -> tuple[Plan, Mapping[str, bytes]]:
        """A plan that can be carried out, and the models that it brings along.

        Everything that can be refused is refused here.
        """
        if not devices or len(set(devices)) < len(devices):
            known = ", ".join(self.config.devices)
            raise UsageError(
                f"--devices names each device once, got {list(devices)}; there are {known}"
            )
        for option, value, least in (
            ("budget", budget, 1),
            ("holdout", holdout, 0),
            ("seed", seed, 0),
            ("device-seconds", 0 if device_seconds is None else device_seconds, 0),
        ):
            if not value >= least:
                raise UsageError(f"--{option} must be at least {least}, got {value}")
        name, models = _imported(space_name, input_shape)
        plan = Plan(
            space=name,
            devices=tuple(devices),
            budget=budget,
            holdout=holdout,
            seed=seed,
            specs=tuple(self.config.device(name).spec for name in devices),
            select=select,
            device_seconds=device_seconds,
            networks=tuple(models) or None,
        )
        Chooser(plan, space(name, models))
        return plan, models

    def _run(self, name: str, store: Store, executor: Executor, watch: Watch) -> None:
        policies = {device.name: device.controls for device in self.config.devices.values()}
        Campaign(name, store, executor, self._artifacts(), watch, policies).run()

    @contextmanager
    def _executor(self, kind: str, devices: Sequence[str]) -> Iterator[Executor]:
        """The executor, started, with all targets known to the compiler."""
        chosen = [self.config.device(name) for name in devices]
        with self._make_executor(kind, chosen) as executor:
            targets = [facts.target for facts in executor.facts.values()]
            for target in targets:
                if target is not None:
                    executor.check_target(target)
            yield executor

    def _make_executor(self, kind: str, devices: Sequence[Device]) -> Executor:
        if kind == "inline":
            return InlineExecutor(devices, self._artifacts())
        if kind != "ray":
            raise UnknownName("executor", kind, EXECUTORS)
        from farm.execution.on_ray import RayExecutor

        config = self.config
        return RayExecutor(devices, self._artifacts(), config.ray, config.compile_workers)

    def _artifacts(self) -> ArtifactStore:
        return ArtifactStore(self.config.store / "artifacts")


def _examined(facts: DeviceFacts) -> Sequence[Network]:
    """The lightest and the heaviest control network, or networks of the only space that the device
    has."""
    own = [network for network in controls.NETWORKS if facts.space in (None, network.space)]
    if facts.space is not None and not own:
        return space(facts.space).sample(2, np.random.default_rng(0))
    return own[0], own[-1]


def _imported(space: str, input_shape: str | None) -> tuple[str, Mapping[str, bytes]]:
    """The name of a space, and of `onnx:FOLDER` the models."""
    name, _, folder = space.partition(":")
    if name != ONNX:
        _refuse_shape(input_shape, space)
        return space, {}
    if not folder:
        raise UsageError("--space onnx needs the folder of its files: --space onnx:FOLDER")
    from farm.spaces.onnx.files import import_folder

    return name, import_folder(Path(folder).expanduser(), input_shape)


def _refuse_shape(input_shape: str | None, what: str) -> None:
    if input_shape is not None:
        raise UsageError(f"--input-shape is only for ONNX files, not for {what!r}; leave it out")
