"""The farm as a Python object; every command is a thin layer over it.

from farm import Farm, Launch

asked = Launch(space="nb201", devices=["cpu1"], budget=40)
summary = Farm.open("cluster.yaml").launch(asked)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from farm.campaign.asking import Ask, Asking
from farm.campaign.known import begin_repetition, repetition
from farm.campaign.loop import Campaign, Watch
from farm.campaign.model_check import ModelCheck
from farm.campaign.planning import Launch, planned
from farm.campaign.query import Outcomes, Wanted, measure_in_turn
from farm.campaign.summary import Summary, summarise
from farm.compile.artifacts import ArtifactStore
from farm.core.errors import UnknownName, UsageError
from farm.core.hosts import use_ray_token
from farm.core.values import DeviceFacts, Network
from farm.devices.certificate import LOAD_S
from farm.devices.examination import examine
from farm.devices.health import Health, health
from farm.execution.inline import InlineExecutor
from farm.execution.protocol import Executor
from farm.inventory.config import Device, FarmConfig, load
from farm.measurement.verdict import VERDICTS
from farm.prediction.batch import Answers, Batch, chained
from farm.prediction.encoding import Encoding, NetworkEncoding
from farm.prediction.selection import Candidates
from farm.spaces import space
from farm.spaces.base import ONNX
from farm.spaces.sizes import Sizes
from farm.store import Holding, Lease, Request, Store, StoredModels, device_thing

if TYPE_CHECKING:
    from farm.campaign.layouts import Export, Exported
    from farm.prediction.decider import Decider
    from farm.prediction.hwl import Asked as HWLAsked
    from farm.prediction.live import DevicePredictor, HWLEncoder
    from farm.prediction.prediction import Predictions
    from farm.prediction.proxies import Proxies

EXECUTORS = ("ray", "inline")


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
        launch: Launch,
        executor: str = "ray",
        watch: Watch = lambda _: None,
        begun: Callable[[str], None] = lambda _: None,
        left_out: Callable[[Mapping[str, str]], None] = lambda _: None,
    ) -> Summary:
        """Start a campaign and work until it is done.

        begun: told the campaign's name as soon as it is stored. left_out: told the files of a
            folder that cannot be measured, with the reasons.
        """
        new = planned(launch, self.config)
        left_out(new.refused)
        _must_be_executor(executor)
        with Store(self.config.store) as store:
            with Holding(store, "farm launch") as holding:
                holding.wait_for_devices(new.plan.devices)
                with self._executor(executor, new.plan.devices) as running:
                    store.models.keep(new.models)
                    name = store.add_campaign(new.plan)
                    holding.run(name)
                    begun(name)
                    # Files that were measured before are networks of the space, too.
                    about = replace(new.about, searched=space(new.plan.space, store.models))
                    self._run(name, about, holding, running, watch)
            return summarise(store, name, self.config)

    def resume(
        self,
        campaign: str = "latest",
        executor: str = "ray",
        watch: Watch = lambda _: None,
        again: Collection[str] = (),
    ) -> Summary:
        """Go on with a campaign that was killed or cancelled.

        again: the verdicts that are measured again, such as `contended`; of two measurements the
            one with the narrower interval counts. Raises UsageError for what is no verdict.
        """
        if unknown := sorted(set(again) - set(VERDICTS)):
            raise UsageError(
                f"no verdict is called {unknown[0]!r}; there are {', '.join(VERDICTS)}"
            )
        _must_be_executor(executor)
        with self.store() as store:
            name = store.campaign(campaign).id
            with Holding(store, "farm campaign resume") as holding:
                holding.run(name)
                stored = store.campaign(name)
                measured = store.measured(name) if again else []
                repeated = [request for request, found in measured if found.verdict in again]
                if repeated or stored.state != "done" or store.was_cut_short(name):
                    about = Candidates.of(stored.plan, space(stored.plan.space, store.models))
                    holding.wait_for_devices(stored.plan.devices)
                    with self._executor(executor, stored.plan.devices) as running:
                        self._run(name, about, holding, running, watch, repeated)
            return summarise(store, name, self.config)

    def repeat(
        self,
        campaign: str = "latest",
        executor: str = "ray",
        watch: Watch = lambda _: None,
        begun: Callable[[str], None] = lambda _: None,
    ) -> Summary:
        """A new campaign that measures the networks of another one anew, on the same devices, so
        that `farm compare` has the same networks of both.

        begun: told the new campaign's name. Raises UnknownName.
        """
        _must_be_executor(executor)
        with self.store() as store:
            repeated = store.campaign(campaign)
            with Holding(store, "farm campaign repeat") as holding:
                holding.wait_for_devices(repeated.plan.devices)
                plan = repetition(store, repeated.id)
                about = Candidates.of(plan, space(plan.space, store.models))
                with self._executor(executor, plan.devices) as running:
                    name = begin_repetition(store, repeated.id, plan)
                    holding.run(name)
                    begun(name)
                    self._run(name, about, holding, running, watch)
            return summarise(store, name, self.config)

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

    def held(self, devices: Sequence[str] | None = None) -> dict[str, Lease]:
        """The lease that a process of the farm has on each device that is held; devices: of these,
        or else of all in cluster.yaml."""
        chosen = [self.config.device(name) for name in devices or self.config.devices]
        if not (self.config.store / "farm.db").exists():
            return {}
        with self.store() as store:
            found = store.holders()
        things = {device.name: device_thing(device.name) for device in chosen}
        return {name: found[thing] for name, thing in things.items() if thing in found}

    def facts(self, device: str) -> DeviceFacts:
        """Start the device's agent and ask what it finds; of a device that a process of the farm
        holds, what was found last."""
        if self.held([device]):
            with self.store() as store:
                if known := store.facts(device):
                    return known[-1]
        with InlineExecutor([self.config.device(device)], self._artifacts()) as executor:
            return executor.facts[device]

    def check(self, device: str, load_s: float = LOAD_S) -> dict[str, Any]:
        """Examine a device for a minute and keep what was found, see `farm.devices.certificate`.

        load_s: how long it is kept busy to see whether it slows down.
        """
        if not load_s > 0:
            raise UsageError(f"--load-seconds must be positive, got {load_s}")
        chosen = self.config.device(device)
        with Store(self.config.store) as store, Holding(store, "farm device check") as holding:
            holding.wait_for_devices([device])
            examine(chosen, holding, self._artifacts(), load_s)
            return store.certificate(device) or {}

    def health(self, facts: DeviceFacts) -> Health:
        """What the store knows of a device that was found like this."""
        if not (self.config.store / "farm.db").exists():
            return Health(None, (), None, (), 0, ())
        with self.store() as store:
            device = self.config.device(facts.device)
            return health(store, facts, device.spec, device.controls.tolerated)

    def check_model(
        self,
        path: str | Path,
        devices: Sequence[str] | None = None,
        shape: str | None = None,
        batch: int | None = None,
    ) -> ModelCheck:
        """What the farm sees in an .onnx file, and for which devices it compiles.

        devices: names; all of cluster.yaml without them. shape, batch: see `hwl`. Nothing is
        measured, and nothing stored but what was built.
        Raises UnknownName, UsageError, NetworkSyntaxError and BuildError.
        """
        import onnx

        from farm.campaign.model_check import check_model
        from farm.spaces.onnx.files import import_file

        names = list(self.config.devices) if devices is None else devices
        chosen = [self.config.device(name) for name in names]
        ((code, data),) = import_file(Path(path), Sizes(shape, batch)).items()
        model = onnx.load_from_string(data)
        return check_model(Network(ONNX, code), model, chosen, self._artifacts())

    @overload
    def hwl(self, networks: str, ask: Ask | None = None) -> NetworkEncoding: ...  # type: ignore[overload-overlap]  # a str is no list of networks

    @overload
    def hwl(self, networks: Sequence[str], ask: Ask | None = None) -> Encoding: ...

    def hwl(
        self, networks: str | Sequence[str], ask: Ask | None = None
    ) -> NetworkEncoding | Encoding:
        """The HWL encoding of a network, as `SPACE/CODE` or the path of an .onnx file; of several
        networks of one space, arrays.

        ask: what may be measured for it; by default what is missing of one network, and nothing of
        several. Raises UsageError for whatever is wrong with any network.
        """
        if isinstance(networks, str):
            with self._encoding([networks], ask or Ask(measure="missing")) as (batch, about, came):
                batch.must_be_read()
                return next(about.each([batch.networks[0]], came))
        with self._encoding(networks, ask or Ask()) as (batch, about, came):
            batch.must_be_read()
            spaces = [list(own.values()) for own in batch.by_space.values()]
            return Encoding.together([about.encode(own, came) for own in spaces])

    def hwl_each(self, networks: Sequence[str], ask: Ask | None = None) -> Answers[NetworkEncoding]:
        """The HWL encodings of many networks; one that has none says why, in its row. Raises
        UsageError where none has one."""
        with self._encoding(networks, ask or Ask()) as (batch, about, came):
            found = Answers.of(batch, lambda own: about.each(own, came))
        found.must_have_any()
        return found

    @contextmanager
    def _encoding(
        self, networks: Sequence[str], ask: Ask
    ) -> Iterator[tuple[Batch, HWLAsked, Outcomes]]:
        """What was asked, what is known of the references, and what came of measuring there."""
        from farm.prediction.hwl import Asked

        devices = [self.config.device(name) for name in self.config.references]
        with self._asked(networks, ask) as (store, batch, models):
            about = Asked(store, self.config, models)
            measure = self._measuring(store, ask, "farm hwl")
            yield batch, about, Asking(ask, devices, store, measure).measured(batch, about.errors)

    def predict(
        self,
        networks: Sequence[str],
        device: str,
        ask: Ask | None = None,
        *,
        explain: bool = False,
        strict: bool = True,
    ) -> Predictions:
        """What networks take on a device, as far as the store tells, and as far as may be measured.

        networks: as `SPACE/CODE` or paths of .onnx files, which are kept in the store.
        ask: what may be measured for it; by default nothing. explain: with the kernels' times.
        strict: raise what is wrong with any network; else its row says it, unless all are wrong.
        """
        from farm.prediction.prediction import Asked

        chosen, ask = self.config.device(device), ask or Ask()
        with self._asked(networks, ask) as (store, batch, models):
            store.models.keep(batch.models)
            about = Asked(store, self.config, chosen, models)
            measure = self._measuring(store, ask, "farm predict")
            came = Asking(ask, [chosen], store, measure).measured(batch, about.errors)
            found = about.answers(batch, came.get(device, {}), explain)
        found.answers.must_have_all() if strict else found.answers.must_have_any()
        return found

    @contextmanager
    def _asked(
        self, networks: Sequence[str], ask: Ask
    ) -> Iterator[tuple[Store, Batch, Mapping[str, bytes]]]:
        """The store, what was asked, and ONNX files by their codes, those of the store too."""
        _must_be_executor(ask.executor)
        asked = self._read(networks, ask.sizes)
        with Store(self.config.store, create=ask.measure != "never") as store:
            yield store, asked, chained(asked.models, store.models)

    def _read(self, networks: Sequence[str], sizes: Sizes) -> Batch:
        """Raises UsageError where none can be read: before a store is made for them."""
        asked = Batch.read(networks, StoredModels(self.config.store), sizes)
        if not asked.networks:
            asked.must_be_read()
        return asked

    def _measuring(self, store: Store, ask: Ask, command: str) -> Callable[[Wanted], Outcomes]:
        """What measures on devices that it waits for in turn. command: what others are told."""
        start, artifacts = partial(self._executor, ask.executor), self._artifacts()

        def measure(wanted: Wanted) -> Outcomes:
            devices = [self.config.device(name) for name in wanted]
            with Holding(store, command) as holding:
                return measure_in_turn(wanted, devices, holding, start, artifacts)

        return measure

    def zcp(
        self,
        networks: Sequence[str],
        *,
        seed: int = 0,
        batch: int | None = None,
        shape: str | None = None,
        strict: bool = True,
    ) -> Proxies:
        """Zero-cost proxies of networks, as arrays; what is computed is kept in the store.

        seed: draws weights, images and labels. batch: images. shape: see `Ask`. strict: see
        `predict`. Raises UsageError.
        """
        from farm.prediction.proxies import BATCH, current_pass, proxies

        by = current_pass(seed, BATCH if batch is None else batch)
        asked = self._read(networks, Sizes(shape))
        with Store(self.config.store) as store:
            store.models.keep(asked.models)
            found = proxies(store, asked, by)
        found.answers.must_have_all() if strict else found.answers.must_have_any()
        return found

    def export(self, export: Export) -> Exported:
        """Write a table of what the store knows, see `Export`."""
        from farm.campaign import layouts

        with self.store() as store:
            return layouts.export(store, self.config, export)

    def predictor(self, device: str) -> DevicePredictor:
        """For search loops: networks -> their latencies on a device, as arrays."""
        from farm.prediction.live import DevicePredictor

        return DevicePredictor(self.config, device, self.store)

    def encoder(self) -> HWLEncoder:
        """For search loops: networks -> their HWL encoding, as arrays."""
        from farm.prediction.live import HWLEncoder

        return HWLEncoder(self.config, self.store)

    def _run(
        self,
        name: str,
        about: Candidates,
        holding: Holding,
        executor: Executor,
        watch: Watch,
        again: Collection[Request] = (),
    ) -> None:
        policies = {device.name: device.controls for device in self.config.devices.values()}
        artifacts = self._artifacts()
        Campaign(name, about, holding, executor, artifacts, watch, policies, again).run()

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
        decider = partial(_decider, self.config)
        if kind == "inline":
            return InlineExecutor(devices, self._artifacts(), decider)
        use_ray_token()
        from farm.execution.on_ray import RayExecutor

        config = self.config
        return RayExecutor(devices, self._artifacts(), config.ray, config.compile_workers, decider)

    def _artifacts(self) -> ArtifactStore:
        return ArtifactStore(self.config.store / "artifacts")


def _decider(config: FarmConfig) -> Decider:
    """The central predictor over the farm's store."""
    from farm.prediction.decider import Decider

    return Decider.at(config.store, config)


def _must_be_executor(kind: str) -> None:
    """Raises UnknownName; asked before anything is made on the disk."""
    if kind not in EXECUTORS:
        raise UnknownName("executor", kind, EXECUTORS)
