"""Measurements as the predictor reads them: each row of the store once, and again only where it is
told differently since."""

from __future__ import annotations

from dataclasses import dataclass, replace

from farm.measurement.record import Block, Measurement
from farm.store import News, Store


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
