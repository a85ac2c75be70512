"""What the service is asked, answered from a store that stays open by a predictor that stays warm.

An `Answering` is of one thread: SQLite's connections are, and so are the predictor's caches.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from farm.campaign import following
from farm.campaign.compare import MARGIN, Comparison, compare
from farm.campaign.learning import Curve, curves
from farm.campaign.summary import Summary, summarise
from farm.compile.alone import defined
from farm.core.errors import UsageError
from farm.core.values import DeviceFacts
from farm.devices.health import Health
from farm.devices.health import health as health_of
from farm.farm import Farm
from farm.inventory.config import Device
from farm.measurement.record import Measurement
from farm.prediction import hwl
from farm.prediction.batch import Answers, Batch
from farm.prediction.central import CentralPredictor
from farm.prediction.correlation import Correlations, correlations
from farm.prediction.encoding import NetworkEncoding
from farm.prediction.hwl import ONE_BY_ONE
from farm.prediction.kernel_times import times
from farm.prediction.measured import known
from farm.prediction.prediction import Asked, Predictions
from farm.search.known import BelievedFront, KnownFront, believed_front, known_front
from farm.service.memory import Memory, Question, changed_at
from farm.spaces import space as searched_space
from farm.store import Store, StoredCampaign
from farm.store.events import About, Event
from farm.store.lease import claim_json

Found = TypeVar("Found")

EVENTS = 100
"""Of a campaign, the newest."""


class Answering:
    """farm: its cluster.yaml is read again when the file has changed. memory: of what was said."""

    def __init__(self, farm: Farm, memory: Memory) -> None:
        self.farm = farm
        self._memory = memory
        self.store = Store(farm.config.store)
        self._read_at = -1  # the file may have changed since the service began
        self._begin(farm)

    def _begin(self, farm: Farm) -> None:
        self.farm = farm
        self.predictor = CentralPredictor.of(self.store, farm.config)

    def look(self) -> None:
        """Read cluster.yaml again if it changed. Raises ConfigError."""
        now = changed_at(self.farm)
        if now != self._read_at:
            self._begin(Farm.open(self.farm.config.path, self.farm.config.store))
            self._read_at = now

    def remembered(self, key: Hashable, holds: Hashable, answer: Callable[[], Found]) -> Found:
        """What was said before, as long as `holds` is what it was then."""
        known: Found | None = self._memory.recall(key, (self._read_at, holds))
        if known is not None:
            return known
        found = answer()
        self._memory.keep(key, (self._read_at, holds), found)
        return found

    # Devices

    def devices(self) -> list[dict[str, Any]]:
        """Every device of cluster.yaml, and what it does at the moment."""
        config, store = self.farm.config, self.store
        day = (datetime.now(UTC) - timedelta(days=1)).isoformat(timespec="milliseconds")
        verdicts, waiting = store.verdicts_since(day), store.waiting()
        held, lost = store.holders_of(config.devices), store.lost(config.devices)
        found = []
        for device in config.devices.values():
            lease, quarantine = held.get(device.name), store.quarantined(device.name)
            last = self.last_measured(device.name)
            found.append(
                {
                    "name": device.name,
                    "kind": device.kind,
                    "reference": device.name in config.references,
                    "held_by": lease and lease.to_json(),
                    "quarantine": quarantine and quarantine.reason,
                    "lost": lost.get(device.name),
                    "waiting": waiting.get(device.name, 0),
                    "verdicts_day": dict(verdicts.get(device.name, {})),
                    "measured_at": last and last.measured_at,
                    "temp_c": last and last.blocks[-1].telemetry.get("temp_c"),
                }
            )
        return found

    def must_have(self, devices: Sequence[str]) -> None:
        """Raises UnknownName."""
        for name in devices:
            self.farm.config.device(name)

    def last_measured(self, device: str) -> Measurement | None:
        """What a device measured last, whatever it was."""
        added = self.store.news(device).added
        if not added:
            return None
        return self.remembered(("last", device), added, lambda: self.store.last_measured(device))

    def device(self, name: str) -> dict[str, Any]:
        """A device as it was seen last; nothing is started there. Raises UnknownName."""
        device = self.farm.config.device(name)
        held = self.store.holders_of([name]).get(name)
        facts = self._facts(device)
        return {
            "name": name,
            "kind": device.kind,
            "reference": name in self.farm.config.references,
            "measure": asdict(device.spec),
            "held_by": held and held.to_json(),
            "facts": facts and facts.to_json(),
            "health": None if facts is None else self.health(device, facts).to_json(),
            "measured": {
                space: self.predictor.learnt(space, name) for space in self.store.spaces_of(name)
            },
        }

    def _facts(self, device: Device) -> DeviceFacts | None:
        known = self.store.facts(device.name)
        return known[-1] if known else None

    def health(self, device: Device, facts: DeviceFacts) -> Health:
        return health_of(self.store, facts, device.spec, device.controls.tolerated)

    def chart(self, name: str) -> Health | None:
        """What a device's control chart is drawn from; None before it was seen."""
        device = self.farm.config.device(name)
        facts = self._facts(device)
        return None if facts is None else self.health(device, facts)

    def kernel_times(self, name: str) -> list[dict[str, Any]]:
        """The kernels that were timed on a device as it is now, the longest first."""
        device = self.farm.config.device(name)
        facts = self._facts(device)
        if facts is None:
            return []
        holds = self.store.version(), facts.fingerprint
        return self.remembered(("kernels", name), holds, lambda: self._kernel_times(facts))

    def _kernel_times(self, facts: DeviceFacts) -> list[dict[str, Any]]:
        found, kept = times(self.store, facts, {}), self.store.kernels()
        told = [
            {"kernel": code, "name": defined(kept[code]).name, **asdict(one)}
            for code, one in ({} if found is None else found.times).items()
        ]
        return sorted(told, key=lambda one: -float(one["latency_s"]))

    def front(self, device: str, space: str, data_set: str) -> KnownFront:
        """What was measured of a space on a device, and how accurate it is. Raises UnknownName, and
        UsageError where no accuracies are known."""
        self.farm.config.device(device)
        return self.remembered(
            ("front", device, space, data_set),
            self.store.version(),
            lambda: known_front(
                self.predictor, searched_space(space, self.store.models), device, data_set
            ),
        )

    def believed_front(self, device: str, space: str, data_set: str) -> Sequence[BelievedFront]:
        """The same with what is predicted of the others; empty where too little was measured."""

        def found() -> Sequence[BelievedFront]:
            searched = searched_space(space, self.store.models)
            front = believed_front(self.predictor, searched, device, data_set)
            return () if front is None else (front,)

        key = ("believed", device, space, data_set)
        return self.remembered(key, self.store.version(), found)

    # Campaigns

    def campaigns(self) -> list[dict[str, Any]]:
        return [one.to_json() for one in self.store.campaigns()]

    def summary(self, name: str) -> Summary:
        """What a campaign came to so far. Raises UnknownName."""
        stored = self.store.campaign(name)
        held = self.store.holders_of(stored.plan.devices)
        now = (stored.state, stored.run_by, stored.measured, stored.failed, stored.stops)
        holds = (self.store.version(), repr(now), repr(held))
        return self.remembered(
            ("campaign", stored.id),
            holds,
            lambda: summarise(self.store, stored.id, self.farm.config),
        )

    def errors(self) -> dict[str, float]:
        """How far off predictions were, relative, in the newest campaign of each device that is
        done: the median over its held-out networks."""
        newest: dict[str, StoredCampaign] = {}
        for stored in self.store.campaigns():
            if stored.state == "done" and stored.plan.holdout:
                newest |= dict.fromkeys(stored.plan.devices, stored)
        each = {device: self._errors_of(stored).get(device) for device, stored in newest.items()}
        return {device: error for device, error in each.items() if error is not None}

    def _errors_of(self, stored: StoredCampaign) -> dict[str, float | None]:
        """As it was judged once it was done."""

        def found() -> dict[str, float | None]:
            judged = summarise(self.store, stored.id, self.farm.config).judgements
            return {device: one.error_median for device, one in judged.items()}

        return self.remembered(("errors", stored.id), stored.measured, found)

    def curves(self, name: str) -> dict[str, Curve]:
        """How well its devices were predicted as a campaign went on. Raises UnknownName."""
        stored = self.store.campaign(name)
        return self.remembered(
            ("curves", stored.id),
            (self.store.version(), stored.measured),
            lambda: curves(self.store, stored, self.farm.config),
        )

    def verdicts(self, stored: StoredCampaign) -> dict[str, dict[str, int]]:
        """How many results of a campaign had each verdict, by device."""
        return {d: self.store.verdicts(stored.id, d) for d in stored.plan.devices}

    def stored(self, name: str) -> StoredCampaign:
        """Raises UnknownName."""
        return self.store.campaign(name)

    def events(self, stored: StoredCampaign) -> list[Event]:
        """What happened to a campaign, newest first."""
        return self.store.events(stored.id, EVENTS)

    def about(
        self, campaign: str | None, device: str | None, after: int | None
    ) -> tuple[About, int]:
        """Which events somebody asks for, and the one to begin after. Raises UnknownName."""
        if device is not None:
            self.farm.config.device(device)
        return following.about(self.store, campaign, device, after)

    def comparison(
        self, first: str, second: str, margin: float = MARGIN, as_measured: bool = False
    ) -> Comparison:
        """Raises UnknownName and UsageError."""
        return compare(self.store, first, second, margin, as_measured)

    def correlations(self, space: str) -> Correlations:
        """How alike devices rank the networks of a space. Raises UnknownName."""
        return self.remembered(
            ("correlations", space),
            self.store.version(),
            lambda: correlations(self.predictor, searched_space(space, self.store.models)),
        )

    def queue(self) -> list[dict[str, Any]]:
        """Who holds what, and who waits for it, in turn."""
        return [claim_json(turn, one) for turn, one in self.store.queue()]

    # Networks

    def told(
        self,
        question: Question,
        encoded: Callable[[Predictions], bytes],
        at_hand: bool = False,
    ) -> bytes | None:
        """The answer to a question, encoded and remembered. at_hand: None where it has to be
        computed."""
        networks, device, explain = question
        holds = self._read_at, self.store.version()
        ask = self.at_hand if at_hand else self.predict
        found = ask(networks, device, explain)
        if found is None:
            return None
        told = encoded(found)
        if len(networks) <= ONE_BY_ONE:
            self._memory.keep(("told", question), holds, told)
        return told

    def predict(self, networks: Sequence[str], device: str, explain: bool = False) -> Predictions:
        """What networks take on a device; one without an answer says why in its row. Raises
        UsageError where none has one."""
        found = self.known(networks, device, explain)
        found.answers.must_have_any()
        return found

    def known(self, networks: Sequence[str], device: str, explain: bool) -> Predictions:
        """The same, where none may have an answer yet. Raises UsageError where none can be read."""
        return self.remembered(
            _predict(networks, device, explain),
            self.store.version(),
            lambda: self._predicted(networks, self.farm.config.device(device), explain),
        )

    def at_hand(self, networks: Sequence[str], device: str, explain: bool) -> Predictions | None:
        """The same where it was asked before, or all is measured: nothing has to be computed."""
        holds = self._read_at, self.store.version()
        found = self._memory.recall(_predict(networks, device, explain), holds)
        if found is not None:
            found.answers.must_have_any()
            told: Predictions = found
            return told
        chosen = self.farm.config.device(device)
        if explain or len(networks) > ONE_BY_ONE:
            return None
        batch = self._batch(networks)
        if batch.errors or any(
            known(self.store, n, chosen) is None for n in batch.networks.values()
        ):
            return None
        return self.predict(networks, device)

    def _predicted(self, networks: Sequence[str], device: Device, explain: bool) -> Predictions:
        batch = self._readable(networks)
        about = Asked(self.store, self.farm.config, device, self.store.models, self.predictor)
        return about.answers(batch, {}, explain)

    def hwl(self, networks: Sequence[str]) -> Answers[NetworkEncoding]:
        """The HWL encodings of networks, as far as is known. Raises UsageError where none has
        one."""
        found = self.encodings(networks)
        found.must_have_any()
        return found

    def encodings(self, networks: Sequence[str]) -> Answers[NetworkEncoding]:
        """The same, where none may have one yet. Raises UsageError where none can be read."""
        about = hwl.Asked(self.store, self.farm.config, self.store.models, self.predictor)
        return Answers.of(self._readable(networks), lambda own: about.each(own, {}))

    def network(self, text: str, explain: bool = False) -> dict[str, Any]:
        """A network's latency on every device, or why there is none. Raises UsageError for what
        is no network."""
        batch = self._batch([text])
        batch.must_be_read()
        devices = [self._on(text, name, explain) for name in self.farm.config.devices]
        return {"network": batch.networks[0].id, "devices": devices}

    def _on(self, text: str, device: str, explain: bool) -> dict[str, Any]:
        try:
            (found,) = self.predict([text], device, explain).answers.lines()
        except UsageError as e:
            return {"device": device, "error": str(e)}
        return {**found, "device": device}

    def _readable(self, networks: Sequence[str]) -> Batch:
        batch = self._batch(networks)
        if not batch.networks:
            Answers(batch.asked, {}, batch.errors).must_have_any()
        return batch

    def _batch(self, networks: Sequence[str]) -> Batch:
        """Paths of files are for who sits at this computer: none is opened."""
        for text in networks:
            if text.strip().endswith(".onnx"):
                raise UsageError(
                    "the service reads no files: name a network as SPACE/CODE; `farm predict "
                    f"FILE.onnx` imports one, got {text[-80:]!r}"
                )
        return Batch.read(networks, self.store.models)


def _predict(networks: Sequence[str], device: str, explain: bool) -> Hashable:
    """The key of a question."""
    return "predict", tuple(networks), device, explain
