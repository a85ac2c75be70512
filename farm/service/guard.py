"""What stands before the service: who asks, from where, how much and how often.

Nobody is answered without a token or the owner's key, on this computer neither: others may be
logged in here. A page of a browser may be anybody's, so what changes something must come from our
own pages, and the host that was asked for must be one of ours.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from farm.core.errors import FarmError, NotAllowed, NotSignedIn, TooBusy, TooLarge
from farm.service.problems import for_people, problem, status_of
from farm.service.who import Who
from farm.store import ROLES, Store

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MOST_BYTES = 1_000_000
"""Of a request's body."""

MOST_TARGET = 16_000
"""Characters of a request's path and query."""

BODY_S = 10.0
"""How long a body is waited for."""

RATE_PER_S, BURST = 500.0, 1000.0
"""Requests of one token."""

WRONG_PER_S, WRONG_BURST = 0.5, 20.0
"""Requests of one address that have no token, or a wrong one."""

_READING = ("GET", "HEAD")
_OPEN = ("/login", "/static/style.css", "/static/icon.svg", "/static/live.js")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

_HEADERS = {
    "x-content-type-options": "nosniff",
    # Not `no-referrer`: a form would be sent without its origin.
    "referrer-policy": "same-origin",
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; script-src "
    "'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}

_log = logging.getLogger("farm.service.requests")


@dataclass
class Buckets:
    """How much each may ask at a time: `burst`, and `per_s` more each second."""

    per_s: float
    burst: float
    clock: Callable[[], float] = time.monotonic
    left: dict[str, tuple[float, float]] = field(default_factory=dict)

    def take(self, name: str) -> bool:
        """Whether `name` may ask once more."""
        now = self.clock()
        if len(self.left) > 10_000:
            self.left.clear()
        had, at = self.left.get(name, (self.burst, now))
        has = min(self.burst, had + (now - at) * self.per_s)
        self.left[name] = max(has - 1, 0.0), now
        return has >= 1


class Guard:
    """An ASGI application around another one.

    store: where tokens are; of the thread of the event loop. key: the owner's. names: the hosts
    that it is asked for by, besides this computer's own; None for any. hush: ends what would be
    answered without end.
    """

    def __init__(
        self,
        app: Any,
        store: Store,
        key: str,
        names: frozenset[str] | None,
        hush: Callable[[], None],
    ) -> None:
        self.hush = hush
        self._app = app
        self._store = store
        self._key = key
        self._names = names
        self._rate = Buckets(RATE_PER_S, BURST)
        self._wrong = Buckets(WRONG_PER_S, WRONG_BURST)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        began, said = time.monotonic(), _Said(send)
        scope.setdefault("state", {})["request"] = said.request
        try:
            headers = _headers(scope)
            self._must_be_sound(scope, headers)
            self._sign_in(scope, headers)
            await self._app(scope, await _bounded(receive, headers), said.send)
        except FarmError as e:
            await _refuse(scope, said.send, e)
        finally:
            _report(scope, said, time.monotonic() - began)

    def _must_be_sound(self, scope: Message, headers: Mapping[str, str]) -> None:
        """Raises NotAllowed and TooLarge."""
        if len(scope["raw_path"]) + len(scope["query_string"]) > MOST_TARGET:
            raise TooLarge(f"an address has at most {MOST_TARGET} characters; POST longer ones")
        name = _host(headers.get("host", ""))
        if self._names is not None and name not in _LOOPBACK | self._names:
            raise NotAllowed(
                f"this service is not called {name[:80]!r}; `farm serve --name` says what it is "
                "called"
            )

    def _sign_in(self, scope: Message, headers: Mapping[str, str]) -> None:
        """Raises NotSignedIn, NotAllowed and TooBusy."""
        secret, by_cookie = _secret(scope, headers)
        if scope["method"] not in _READING and (by_cookie or not secret):
            _must_be_ours(headers)
        if scope["path"] in _OPEN:
            if scope["method"] not in _READING or scope["query_string"]:
                self._must_not_guess(scope)
            return
        try:
            who = self.who(secret)
        except NotSignedIn:
            self._must_not_guess(scope)
            raise
        if not self._rate.take(who.name):
            raise TooBusy(f"{who.name!r} may ask {RATE_PER_S:.0f} times a second; ask more slowly")
        scope["state"]["who"] = who

    def who(self, secret: str) -> Who:
        """Raises NotSignedIn."""
        if secrets.compare_digest(secret.encode(), self._key.encode()):
            return Who("owner", ROLES[-1])
        token = self._store.token_of(secret) if secret else None
        if token is None:
            raise NotSignedIn(
                "this takes a token that holds, as `Authorization: Bearer TOKEN`; `farm token "
                "create NAME` makes one"
            )
        if token.state != "valid":
            raise NotSignedIn(
                f"the token {token.name!r} is {token.state}; `farm token create NAME` makes another"
            )
        return Who(token.name, token.role)

    def _must_not_guess(self, scope: Message) -> None:
        peer = (scope.get("client") or ("unknown", 0))[0]
        if not self._wrong.take(peer):
            raise TooBusy(f"{peer} asked too often without a token that holds; wait for a while")


class _Said:
    """What was sent: its status, with headers that every answer has."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.request = secrets.token_hex(6)
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = {name.lower() for name, _ in message.get("headers", [])}
            own = {**_HEADERS, "x-request-id": self.request}
            added = [
                (name.encode(), value.encode())
                for name, value in own.items()
                if name.encode() not in given
            ]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await self._send(message)


def _headers(scope: Message) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _host(header: str) -> str:
    """Without the port."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def cookie_name(scope: Mapping[str, Any]) -> str:
    """Browsers send a host's cookies to all of its ports."""
    return f"farm-{(scope.get('server') or ('', 0))[1]}"


def _secret(scope: Message, headers: Mapping[str, str]) -> tuple[str, bool]:
    """The token that comes with a request, and whether it is a browser's cookie."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return given.strip(), False
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(cookie_name(scope))
    except CookieError:
        return "", False
    return (found.value, True) if found else ("", False)


def _must_be_ours(headers: Mapping[str, str]) -> None:
    """A browser says which page a request is from. Raises NotAllowed."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    ours = urlsplit(origin).netloc == headers.get("host", "") if origin else site == "same-origin"
    if not ours or site not in (None, "same-origin", "none"):
        raise NotAllowed(
            "a page of another host may change nothing here; open the service's own page, or send "
            "the token as `Authorization: Bearer TOKEN`"
        )


async def _bounded(receive: Receive, headers: Mapping[str, str]) -> Receive:
    """The body, read whole. Raises TooLarge and TooBusy."""
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length) > MOST_BYTES:
        raise TooLarge(_too_large(int(length)))
    parts: list[bytes] = []
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                parts.append(message.get("body", b""))
                if sum(map(len, parts)) > MOST_BYTES:
                    raise TooLarge(_too_large(sum(map(len, parts))))
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise TooBusy(f"the request did not come within {BODY_S:.0f} s; send it again") from None
    whole: list[Message] = [{"type": "http.request", "body": b"".join(parts), "more_body": False}]

    async def replay() -> Message:
        return whole.pop() if whole else await receive()

    return replay


def _too_large(size: int) -> str:
    return f"a request has at most {MOST_BYTES} bytes, got {size} or more; ask in parts"


async def _refuse(scope: Message, send: Send, error: FarmError) -> None:
    """Before any page or API is reached."""
    to_page = for_people(scope["path"]) and scope["method"] in _READING
    headers = {"content-type": "application/json"}
    status, body = status_of(error), problem(error).model_dump_json().encode()
    if isinstance(error, NotSignedIn) and to_page:
        status, body, headers = 303, b"", {"location": "/login"}
    elif isinstance(error, NotSignedIn):
        headers["www-authenticate"] = "Bearer"
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _report(scope: Message, said: _Said, took_s: float) -> None:
    """A line for each request; queries may hold anything, and are left out."""
    who = scope["state"].get("who")
    named = scope.get("path_params", {})
    about = {"request": said.request, **{key: named.get(key) for key in ("campaign", "device")}}
    line = {
        "who": who and who.name,
        "method": scope["method"],
        "path": scope["path"][:200],
        "status": said.status,
        "took_s": round(took_s, 6),
    }
    _log.info("", extra={"told": line, **about})
