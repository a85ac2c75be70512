"""What happens, as a stream: one reader of the store for all who listen.

A listener is a place in what all share, and nothing else: one that reads slowly holds up nobody,
and nothing is kept for it but what its connection holds.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from itertools import takewhile
from typing import Any, ClassVar

from starlette.responses import Response

from farm.core.errors import TooBusy
from farm.store import Store
from farm.store.events import About, Event

MOST_LISTENERS = 1000

_LOOK_S = 0.2
_KEPT, _AT_A_TIME = 1000, 100
_SILENT_S = 15.0
"""After so long something is said, so that neither a proxy nor a client takes it for dead."""

_BEGINNING = b"retry: 2000\n\n"
_NOTHING = b": nothing new\n\n"

Message = MutableMapping[str, Any]


class Feed:
    """store: of the thread of the event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._recent: deque[tuple[Event, bytes]] = deque(maxlen=_KEPT)
        self._last = 0
        self._listeners = 0
        self._reader: asyncio.Task[None] | None = None
        self._news: asyncio.Future[None] | None = None
        self._closed = False

    def must_have_room(self) -> None:
        """Raises TooBusy."""
        if self._listeners >= MOST_LISTENERS:
            raise TooBusy(
                f"{self._listeners} programs and pages listen to events already; ask again later, "
                "or with wait=false now and then"
            )

    def after(self, last: int) -> list[tuple[Event, bytes]]:
        """The next events after event `last`, and how each is sent."""
        if self._recent and self._recent[0][0].id <= last + 1:
            newer = list(takewhile(lambda one: one[0].id > last, reversed(self._recent)))
            return newer[: -_AT_A_TIME - 1 : -1]
        if self._reader is not None and last >= self._last:
            return []
        return [(one, _sent(one)) for one in self._store.events_after(last, _AT_A_TIME)]

    async def listen(
        self, about: About, last: int, gone: asyncio.Future[Any]
    ) -> AsyncIterator[bytes]:
        """What to send to one who listens, until `gone` is."""
        self._listeners += 1
        try:
            yield _BEGINNING
            while not (self._closed or gone.done()):
                news = self._next()
                if found := self.after(last):
                    last = found[-1][0].id
                    if told := b"".join(sent for one, sent in found if about.concerns(one)):
                        yield told
                    await asyncio.sleep(0)  # others have their turn
                    continue
                done, _ = await asyncio.wait(
                    (news, gone), timeout=_SILENT_S, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    yield _NOTHING
        finally:
            self._listeners -= 1

    def _next(self) -> asyncio.Future[None]:
        """Done when there is something new. Somebody reads the store while anybody waits."""
        if self._news is None:
            self._news = asyncio.get_running_loop().create_future()
        if self._reader is None:
            self._recent.clear()
            self._last = self._store.newest_event()
            self._reader = asyncio.create_task(self._read())
        return self._news

    async def _read(self) -> None:
        while self._listeners:
            await asyncio.sleep(_LOOK_S)
            if found := self._store.events_after(self._last, _KEPT):
                self._last = found[-1].id
                self._recent.extend((one, _sent(one)) for one in found)
                self._wake()
        self._reader = None

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None and not news.done():
            news.set_result(None)

    def close(self) -> None:
        """Say to all who listen that it is over."""
        self._closed = True
        self._wake()


class Stream(Response):
    """Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    wait: go on with what happens; else it ends with what has happened.
    """

    media_type = "text/event-stream"

    SCHEMA: ClassVar[dict[int | str, dict[str, Any]]] = {
        200: {
            "content": {
                "text/event-stream": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "id": {"type": "string", "pattern": "^[0-9]+$"},
                            "data": {"type": "string", "contentMediaType": "application/json"},
                        },
                        "required": ["data"],
                    }
                }
            }
        }
    }

    def __init__(self, feed: Feed, about: About, last: int, wait: bool = True) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._feed = feed
        self._about = about
        self._last = last
        self._wait = wait

    async def __call__(
        self,
        _: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            async for part in self._parts(gone):
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()

    async def _parts(self, gone: asyncio.Future[None]) -> AsyncIterator[bytes]:
        if self._wait:
            async for part in self._feed.listen(self._about, self._last, gone):
                yield part
            return
        last = self._last
        while found := self._feed.after(last):
            last = found[-1][0].id
            yield b"".join(sent for one, sent in found if self._about.concerns(one))


async def _disconnected(receive: Callable[[], Awaitable[Message]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _sent(event: Event) -> bytes:
    return f"id: {event.id}\ndata: {json.dumps(event.to_json())}\n\n".encode()
