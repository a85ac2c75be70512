"""Measurements as the predictor reads them: each row of the store once, and again only where it is
told differently since."""

from __future__ import annotations

from dataclasses import dataclass, replace

from farm.measurement.record import Block, Measurement
from farm.store import News, Store

_First = tuple[str, str, tuple[int, int] | None, int]
"""Device, search space, quantity, number of networks."""


@dataclass(frozen=True, eq=False)
class _Read:
    """What was read of a device, and the news until then. by_id: those that hold."""

    news: News
    by_id: dict[int, Measurement]
    found: tuple[Measurement, ...]


def _condensed(m: Measurement) -> Measurement:
    """The same with one sample for each block, what the block says: all that is told of it is told
    alike, in a few kilobytes of memory."""
    blocks = tuple(
        Block((block.latency_s,), block.runs_per_sample, {}, block.session, block.rejected)
        for block in m.blocks
    )
    return replace(m, blocks=blocks, warmup_s=((),) * len(m.warmup_s))


class Observed:
    """What a store knows of devices, read piece by piece.

    until: the id of the last measurement that is looked at; None for all.
    """

    def __init__(self, store: Store, until: int | None = None) -> None:
        self._store = store
        self._until = until
        self._read: dict[tuple[str, str], _Read] = {}
        self._first: dict[_First, _Read] = {}

    def of(self, device: str, space: str) -> tuple[Measurement, ...]:
        """All measurements of networks of a space that hold on a device as it is now, oldest
        first; the same object while there is no news of the device."""
        news = self._store.news(device)
        known = self._read.get((device, space))
        if known is None or known.news.told != news.told:
            known = _Read(News(), {}, ())
        if known.news != news:
            known = self._read[device, space] = self._with_news(known, device, space, news)
        return known.found

    def first(
        self, device: str, space: str, quantity: tuple[int, int] | None, networks: int
    ) -> tuple[Measurement, ...]:
        """The oldest of these, up to the first one of the last of so many networks: no more is
        read, however much a store holds. quantity: what they are of, to count as a network; None
        for any."""
        news, key = self._store.news(device), (device, space, quantity, networks)
        known = self._first.get(key)
        if known is None or (known.news.told, known.news.dropped) != (news.told, news.dropped):
            known = _Read(News(), {}, ())
        if known.news != news:
            fresh = self._until_so_many(known, *key)
            by_id = {**known.by_id, **fresh}
            found = tuple(by_id.values()) if fresh else known.found
            known = self._first[key] = _Read(news, by_id, found)
        return known.found

    def _until_so_many(
        self,
        known: _Read,
        device: str,
        space: str,
        quantity: tuple[int, int] | None,
        networks: int,
    ) -> dict[int, Measurement]:
        seen = {m.network for m in known.found if quantity in (None, m.spec.quantity)}
        fresh: dict[int, Measurement] = {}
        if len(seen) >= networks:
            return fresh
        since = known.news.added + 1
        for id, m in self._store.observed(device, space, since=since, until=self._until):
            fresh[id] = _condensed(m)
            if quantity in (None, m.spec.quantity):
                seen.add(m.network)
            if len(seen) == networks:
                break
        return fresh

    def _with_news(self, known: _Read, device: str, space: str, news: News) -> _Read:
        by_id = known.by_id
        if news.dropped != known.news.dropped:
            still = self._store.observed_ids(device, space, self._until)
            by_id = {id: by_id[id] for id in still if id in by_id}
        since = known.news.added + 1
        found = self._store.observed(device, space, since=since, until=self._until)
        fresh = {id: _condensed(m) for id, m in found}
        if not fresh and by_id is known.by_id:
            return _Read(news, by_id, known.found)
        by_id = {**by_id, **fresh}
        return _Read(news, by_id, tuple(by_id.values()))
