"""What is asked about networks, one or many: their HWL encodings, latencies and proxies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, overload

from farm.campaign.asking import Ask, Asking
from farm.campaign.query import Outcomes, Wanted, measure_in_turn
from farm.opened import Opened, must_be_executor
from farm.prediction.batch import Answers, Batch, chained
from farm.prediction.encoding import Encoding, NetworkEncoding
from farm.spaces.sizes import Sizes
from farm.store import Holding, Store, StoredModels

if TYPE_CHECKING:
    from farm.prediction.hwl import Asked as HWLAsked
    from farm.prediction.live import DevicePredictor, HWLEncoder
    from farm.prediction.prediction import Predictions
    from farm.prediction.proxies import Proxies


@dataclass(frozen=True)
class Questions(Opened):
    """The part of `farm.farm.Farm` that answers questions about networks."""

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
        from farm.prediction.central import CentralPredictor
        from farm.prediction.hwl import Asked

        devices = [self.config.device(name) for name in self.config.references]
        with self._asked(networks, ask) as (store, batch, models):
            predictor = CentralPredictor.of(store, self.config)
            about = Asked(store, self.config, models, predictor)
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
        from farm.prediction.central import CentralPredictor
        from farm.prediction.prediction import Asked

        chosen, ask = self.config.device(device), ask or Ask()
        with self._asked(networks, ask) as (store, batch, models):
            store.models.keep(batch.models)
            predictor = CentralPredictor.of(store, self.config)
            about = Asked(store, self.config, chosen, models, predictor)
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
        must_be_executor(ask.executor)
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

    def predictor(self, device: str) -> DevicePredictor:
        """For search loops: networks -> their latencies on a device, as arrays."""
        from farm.prediction.live import DevicePredictor

        return DevicePredictor(self.config, device, self.store)

    def encoder(self) -> HWLEncoder:
        """For search loops: networks -> their HWL encoding, as arrays."""
        from farm.prediction.live import HWLEncoder

        return HWLEncoder(self.config, self.store)
