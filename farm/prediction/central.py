"""The farm's predictor: what every device takes for every network of a search space, from all that
was ever measured and published; and what to measure next.

It is rebuilt from the store, which it only reads. Campaigns, queries and summaries ask the same
one. It learns of an outcome when it is asked the next time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from farm.core.values import Network
from farm.inventory.config import FarmConfig
from farm.prediction.across_spaces import carried
from farm.prediction.columns import Column
from farm.prediction.features import MOST, Encoder, Reference
from farm.prediction.precision import Expense
from farm.prediction.selection import POOL, Candidates
from farm.prediction.source import Source, Stored
from farm.prediction.world import HWL, Key, World
from farm.spaces.base import SearchSpace
from farm.store import Store
from predictors import FloatArray, IntArray, Observations, Posterior, metrics

if TYPE_CHECKING:
    from farm.prediction.kernel_times import KernelSum
    from farm.prediction.precision import Belief
    from predictors.models.kernel_sum import FittedKernelSumGP, KernelSumGP
    from predictors.models.mixture_gp import FittedMixtureGP, MixtureGP

BLIND = 5
"""Networks that are chosen by what is known beforehand; from then on each is chosen by what came of
those before. As in `benchmarks.evaluate`."""

LEARNT_FROM = 200
"""The newest networks of a device that its model is fitted to: more change little, and a decision
would take seconds."""

FEW = 300
"""Candidates that are looked at where each has to be planned first, kernel by kernel."""

_REFITTED = (
    *(3, 4, 5, 6, 8, 10, 12, 15, 19, 24, 30),
    *(38, 48, 60, 80, 110, 150, 200, 300, 450, 670, 900),
)
"""Numbers of networks at which a reference is predicted anew: between them it would hardly change,
and it takes as long as the target itself."""


Encode = Callable[[Sequence[Network]], FloatArray]
"""Networks as a model sees them, (M, F)."""


@dataclass(frozen=True, eq=False)
class DeviceModel:
    """What is believed of one device.

    networks: (N,), `candidates` of them first, the pool that may be chosen from. features: (N, F),
        a row of each.
    seen: (n,), rows that were measured. latency_s: (n,), what came of them.
    expense: what measuring takes.
    references: how many other devices it is predicted from.
    source: `kernels`, predicted from their times and from measured networks; `networks`, from
        measured networks alone.
    """

    device: str
    networks: tuple[Network, ...]
    candidates: int
    features: FloatArray
    prior: MixtureGP | KernelSumGP
    fitted: FittedMixtureGP | FittedKernelSumGP
    seen: IntArray
    latency_s: FloatArray
    expense: Expense
    references: int
    source: str
    encode: Encode | None = None

    def posterior(self, rows: IntArray, joint: bool = False) -> Posterior:
        """Of the networks in some rows."""
        return self.fitted.posterior(self.features[rows], self.device, joint)

    @cached_property
    def row(self) -> Mapping[Network, int]:
        """Of each network."""
        return {network: row for row, network in enumerate(self.networks)}

    def rows(self, networks: Iterable[Network]) -> IntArray:
        """(m,), of some networks."""
        return np.array([self.row[network] for network in networks], np.intp)

    @property
    def can_tell(self) -> bool:
        """Whether enough was measured to predict others from: with references one network, which
        says how fast the device is."""
        return len(self.seen) >= (1 if self.references else metrics.FEWEST)

    @property
    def blind(self) -> bool:
        """Whether it is too early to look at what came of the networks that were measured."""
        return self.source == "networks" and len(self.seen) < BLIND

    @property
    def belief(self) -> Belief:
        """What to choose by."""
        if self.blind:
            return self.prior  # type: ignore[return-value]
        return self.fitted.belief(self.device)


class CentralPredictor:
    """Its answers depend on what its source says, and on what it is asked."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._worlds: dict[Candidates, World] = {}
        # Of what is the same as at the last question nothing is computed anew.
        self._learnt_from: dict[Candidates, WeakKeyDictionary[Column, Column]] = {}
        self._whole: dict[str, Candidates] = {}

    @classmethod
    def of(
        cls, store: Store, config: FarmConfig | None = None, until: int | None = None
    ) -> CentralPredictor:
        """Of all that is in a store.

        config: names the published tables, and says what is measured on each device. until: the id
        of the last measurement that counts; None for all.
        """
        return cls(Stored(store, config, until))

    def measured(self, space: str, device: str) -> Column:
        """What a device takes for the networks of a space that were measured there."""
        return self._source.measured(space, device)

    def learnt(self, space: str, device: str) -> int:
        """How many networks of a space were measured on a device."""
        return len(self.measured(space, device).networks)

    def columns(self, space: str) -> list[Column]:
        """Of all devices with networks of a space, those of published tables last."""
        own = [self.measured(space, name) for name in self._source.devices(space)]
        return [*own, *self._source.published(space)]

    def model(
        self,
        about: Candidates,
        device: str,
        batch: int | None = None,
        others: Sequence[Network] = (),
        only: Collection[Network] | None = None,
    ) -> DeviceModel:
        """What is believed of a device now.

        batch: predict by kernels' times, at this batch size, where there are any; None: do not.
        others: networks beside the candidates that will be asked about. only: networks on the
        device itself that count; None for all.
        """
        space = about.searched.name
        mine = _allowed(self._source.measured(space, device), about)
        if only is not None:
            mine = mine.without(set(mine.networks) - set(only))
        if batch is not None:
            by_kernels = self._by_kernels(about, mine, batch, others)
            if by_kernels is not None:
                return by_kernels
        columns = [
            self._refitted(self._reference(about, one), about)
            for one in self._others(space, device)
        ]
        world = self._world(about, [*mine.networks, *others])
        hwl = self._hwl(about, device, world, columns)
        model = world.encoder.predictor(hwl.values, hwl.spread, world.described)
        seen = np.array([world.row[network] for network in mine.networks], np.intp)
        build_s = self._source.build_s(device)
        learnt_from = (len(hwl.names), "networks", build_s, hwl.encode)
        made = _Made(world.networks, len(about.pool), model, *learnt_from)
        return made.given(mine, seen)

    def whole(self, searched: SearchSpace) -> Candidates:
        """What a question outside any campaign is about: networks drawn from all of a space, the
        same each time."""
        if searched.name not in self._whole:
            pool = searched.sample(min(searched.size, POOL), np.random.default_rng(0))
            self._whole[searched.name] = Candidates(searched, tuple(pool), (), frozenset())
        return self._whole[searched.name]

    def references(
        self, searched: SearchSpace, devices: Sequence[str]
    ) -> tuple[list[Reference | None], Encoder | None]:
        """What some devices would take for any network of a space, as models see them, and what
        describes networks to them; None of a device that too little is known of."""
        about = self.whole(searched)
        known = [self._reference(about, name) for name in devices]
        if not any(len(one.networks) >= metrics.FEWEST for one in known):
            return [None] * len(devices), None
        world = self._world(about, ())
        return [world.reference(_as_refitted(one)) for one in known], world.encoder

    def all_references(self, space: SearchSpace) -> tuple[dict[str, Reference], Encoder | None]:
        """Every device that is known on a space, of published tables too."""
        names, columns = self._source.devices(space.name), self._source.published(space.name)
        own, encoder = self.references(space, names)
        found = dict(zip(names, own, strict=True))
        if columns:
            world = self._world(self.whole(space), ())
            found |= {column.device: world.reference(column) for column in columns}
            encoder = world.encoder
        return {name: one for name, one in found.items() if one is not None}, encoder

    def _reference(self, about: Candidates, device: str) -> Column:
        """As much of a reference as others are predicted from, and half as much again, as some may
        be held out of what is asked. One that all candidates are known of is taken as it is."""
        most = _REFITTED[-1]
        networks = most if len(about.pool) <= most else MOST
        return self._source.reference(about.searched.name, device, networks * 3 // 2)

    def _others(self, space: str, device: str) -> list[str]:
        return [name for name in self._source.devices(space) if name != device]

    def _hwl(self, about: Candidates, device: str, world: World, columns: Sequence[Column]) -> HWL:
        """Of all networks of a world, on all devices but one."""
        space = about.searched.name
        all_columns = (*columns, *self._source.published(space))
        found = [(one.key, world.reference(one)) for one in all_columns]
        found += self._carried(about, device, world)
        known = [(key, reference) for key, reference in found if reference is not None]
        return HWL.of(world, known, self._source.normalisations(space))

    def _refitted(self, found: Column, about: Candidates) -> Column:
        """A reference as it is predicted from, of the networks that a question may learn from."""
        known = self._learnt_from.setdefault(about, WeakKeyDictionary())
        if found not in known:
            known[found] = _as_refitted(_allowed(found, about))
        return known[found]

    def _carried(
        self, about: Candidates, device: str, world: World
    ) -> Iterator[tuple[Key, Reference | None]]:
        """What the device's networks of other spaces say of this one's."""
        here = {one.device: one for one in self._source.published(about.searched.name)}
        for other in self._source.other_spaces(device, about.searched.name):
            known = self._source.measured(other.name, device)
            key = (f"{device} in {other.name}", *known.key[1:])
            if key not in world.made:
                there = {one.device: one for one in self._source.published(other.name)}
                pairs = [(there[one], here[one]) for one in there if one in here]
                pool = world.encoder.pool
                world.made[key] = carried(known, other, about.searched, pool, pairs)
            yield key, world.made[key]

    def _world(self, about: Candidates, wanted: Sequence[Network]) -> World:
        """The candidates and other networks, encoded once."""
        known = self._worlds.get(about)
        if known is None:
            known = self._worlds[about] = World.of(about)
        new = [network for network in dict.fromkeys(wanted) if network not in known.row]
        if new:
            known = self._worlds[about] = known.with_more(new)
        return known

    def _by_kernels(
        self, about: Candidates, mine: Column, batch: int, others: Sequence[Network]
    ) -> DeviceModel | None:
        """None where the sum of a network that is asked about is not known."""
        from predictors.models.kernel_sum import KernelSumGP

        wanted = [*about.pool[:FEW], *mine.networks, *others]
        networks = tuple(dict.fromkeys(wanted))
        sums = self._source.sums(mine.device, networks, batch)
        if sums is None:
            return None
        networks, sums = _plannable(networks, sums)
        pool = len(set(about.pool[:FEW]) & set(networks))
        row = {network: i for i, network in enumerate(networks)}
        if not all(network in row for network in others):
            return None
        mine = mine.without([network for network in mine.networks if network not in row])
        structure = about.searched.features(list(networks))
        model = KernelSumGP.over(sums.latency_s, sums.uncertainty, structure)
        seen = np.array([row[network] for network in mine.networks], np.intp)
        build_s = self._source.build_s(mine.device)
        return _Made(networks, pool, model, 0, "kernels", build_s).given(mine, seen)


def _as_refitted(found: Column) -> Column:
    """A reference with the networks that it is predicted from."""
    n = len(found.networks)
    return found.first(_REFITTED[bisect_right(_REFITTED, n) - 1] if n >= _REFITTED[0] else 0)


@dataclass(frozen=True, eq=False)
class _Made:
    """A model before any sample; see `DeviceModel` and `Expense`."""

    networks: tuple[Network, ...]
    candidates: int
    model: MixtureGP | KernelSumGP
    references: int
    source: str
    build_s: float
    encode: Encode | None = None

    def given(self, mine: Column, seen: IntArray) -> DeviceModel:
        """Conditioned on what was measured, in rows `seen`."""
        features = self.model.features
        newest = mine.last(LEARNT_FROM)
        observations = Observations.of_one(
            mine.device, features[seen[-LEARNT_FROM:]], newest.latency_s, newest.noise_std
        )
        return DeviceModel(
            device=mine.device,
            networks=self.networks,
            candidates=self.candidates,
            features=features,
            prior=self.model,
            fitted=self.model.fit(observations),
            seen=seen,
            latency_s=mine.latency_s,
            expense=Expense.of(newest.measurements, self.build_s),
            references=self.references,
            source=self.source,
            encode=self.encode,
        )


def _allowed(found: Column, about: Candidates) -> Column:
    """What a campaign may learn from."""
    allowed = about.allowed(found.networks)
    return found.without([n for n, may in zip(found.networks, allowed, strict=True) if not may])


def _plannable(
    networks: tuple[Network, ...], sums: KernelSum
) -> tuple[tuple[Network, ...], KernelSum]:
    kept = np.flatnonzero(np.isfinite(sums.latency_s))
    found = replace(sums, latency_s=sums.latency_s[kept], uncertainty=sums.uncertainty[kept])
    return tuple(networks[i] for i in kept), found
