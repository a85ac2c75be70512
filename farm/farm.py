"""The farm as a Python object; every command is a thin layer over it.

from farm import Farm, Launch

asked = Launch(space="nb201", devices=["cpu1"], budget=40)
summary = Farm.open("cluster.yaml").launch(asked)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farm.campaign import following
from farm.campaign.choices import Chosen, choices
from farm.campaign.known import begin_repetition, repetition
from farm.campaign.loop import Campaign, Watch
from farm.campaign.model_check import ModelCheck
from farm.campaign.planning import Launch, planned
from farm.campaign.summary import Summary, summarise
from farm.core.errors import UsageError
from farm.core.values import DeviceFacts, Network
from farm.devices.certificate import LOAD_S
from farm.devices.examination import examine
from farm.devices.health import Health, health
from farm.execution.inline import InlineExecutor
from farm.execution.protocol import Executor
from farm.inventory.config import load
from farm.measurement.verdict import VERDICTS
from farm.opened import must_be_executor
from farm.prediction.selection import Candidates
from farm.questions import Questions
from farm.spaces import space
from farm.spaces.base import ONNX
from farm.spaces.sizes import Sizes
from farm.store import Holding, Lease, Request, Store, StoredCampaign
from farm.store.events import Event

if TYPE_CHECKING:
    from farm.campaign.layouts import Export, Exported
    from farm.search.found import Found
    from farm.search.laboratory import Step
    from farm.search.setting import Search

FAILED = "failed"
"""Beside verdicts: what finally failed, and may be tried again."""


@dataclass(frozen=True)
class Farm(Questions):
    """A cluster.yaml and its store. Methods raise what `farm.core.errors` draws."""

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
        must_be_executor(executor)
        with Store(self.config.store) as store:
            with Holding(store, "farm launch", deadline=new.plan.deadline) as holding:
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
        """Go on with a campaign that was killed or cancelled. A device that is lost meanwhile does
        not keep the others waiting; it is tried again.

        again: the verdicts that are measured again, such as `contended`; of two measurements the
            one with the narrower interval counts; and `failed`, what finally failed.
            Raises UsageError for what is no verdict.
        """
        must_be_executor(executor)
        with self.store() as store:
            found = store.campaign(campaign)
            name, deadline = found.id, found.plan.deadline
            must_be_resumable(found, again)
            with Holding(store, "farm campaign resume", deadline=deadline) as holding:
                holding.run(name)
                if FAILED in again:
                    store.take_up_failures(name)
                stored = store.campaign(name)
                measured = store.measured(name) if again else []
                repeated = [request for request, found in measured if found.verdict in again]
                if repeated or stored.state != "done" or store.was_cut_short(name):
                    about = Candidates.of(stored.plan, space(stored.plan.space, store.models))
                    holding.wait_for_devices(stored.plan.devices)
                    facts = {device: store.facts(device) for device in stored.plan.devices}
                    seen = {device: found[-1] for device, found in facts.items() if found}
                    with self._executor(executor, stored.plan.devices, seen) as running:
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
        must_be_executor(executor)
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

    def search(
        self,
        asked: Search,
        executor: str = "ray",
        watch: Callable[[Step], None] = lambda _: None,
        begun: Callable[[str], None] = lambda _: None,
    ) -> Found:
        """Choose the best networks on some devices, verified by measuring what the choice needs; go
        on where the same search was cut short. begun: told its campaign's name."""
        from farm.search.on_farm import Prepared

        must_be_executor(executor)
        prepared = Prepared.of(asked, self.config)
        with Store(self.config.store) as store, Holding(store, "farm search") as holding:
            holding.wait_for_devices(prepared.plan.devices)
            with self._executor(executor, prepared.plan.devices) as running:
                return prepared.run(holding, running, self._artifacts(), watch, begun)

    def choices(self, campaign: str = "latest") -> list[Chosen]:
        """The networks that a campaign chose to learn from, in order, and why. Raises
        UnknownName."""
        with self.store() as store:
            return choices(store, campaign)

    def cancel(self, campaign: str) -> str:
        """Ask a campaign to end, here or in another process; its name."""
        with self.store() as store:
            name = store.campaign(campaign).id
            store.cancel(name)
            return name

    def events(
        self, campaign: str | None = None, device: str | None = None, after: int | None = None
    ) -> Iterator[Event]:
        """What happens, as it does: of a campaign (or `latest`) from its last run on until that
        has ended, else from now on without end. after: the event to begin after. Raises
        UnknownName."""
        if device is not None:
            self.config.device(device)
        with self.store() as store:
            asked, last = following.about(store, campaign, device, after)
            yield from following.follow(store, asked, last)

    def held(self, devices: Sequence[str] | None = None) -> dict[str, Lease]:
        """The lease that a process of the farm has on each device that is held; devices: of these,
        or else of all in cluster.yaml."""
        chosen = [self.config.device(name) for name in devices or self.config.devices]
        if not (self.config.store / "farm.db").exists():
            return {}
        with self.store() as store:
            return store.holders_of(device.name for device in chosen)

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

    def export(self, export: Export) -> Exported:
        """Write a table of what the store knows, see `Export`."""
        from farm.campaign import layouts

        with self.store() as store:
            return layouts.export(store, self.config, export)

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


def must_be_resumable(stored: StoredCampaign, again: Collection[str] = ()) -> None:
    """Raises UsageError for a search, and for what is no verdict."""
    if unknown := sorted(set(again) - {*VERDICTS, FAILED}):
        raise UsageError(
            f"no verdict is called {unknown[0]!r}; there are {', '.join(VERDICTS)}, and "
            f"{FAILED!r} for what failed"
        )
    if stored.plan.search is not None:
        raise UsageError(
            f"{stored.id} is a search; the same `farm search` goes on where it was cut short"
        )
