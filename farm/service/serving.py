"""Runs the service until it is told to end."""

from __future__ import annotations

import ipaddress
import json
import os
import resource
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvicorn

from farm.core.errors import StoreError, UsageError
from farm.farm import Farm
from farm.service.app import service
from farm.service.feed import MOST_LISTENERS
from farm.service.guard import Guard
from farm.store import Store

KEY_FILE = "service.json"
"""In the store's folder, its owner's alone: where the service is, and the owner's key to it."""

_MOST_AT_ONCE = MOST_LISTENERS + 200
"""Connections, those that read events included."""

_SWITCH_S = 0.0005
"""How long a thread that computes keeps the event loop waiting: Python's own 5 ms are long for an
answer of 1 ms."""

_UNREAD_BYTES, _UNREAD_S = 1 << 17, 60
"""What a client does not read: so much is kept by the system, which ends the connection after so
long."""


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where the service listens. port: 0 for any that is free. remote: that other computers may ask
    it is meant. names: what it is called by, besides this computer's own names."""

    host: str = "127.0.0.1"
    port: int = 8765
    remote: bool = False
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UsageError(f"--port must be 0 to 65535, got {self.port}")

    @property
    def is_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def called(self) -> frozenset[str] | None:
        """The hosts that it may be asked for by; None for any."""
        if not self.is_loopback and not self.names:
            return None
        return frozenset(name.lower() for name in self.names) | {self.host}


@dataclass(frozen=True)
class Started:
    """A service that listens. key: of its owner; key_file: where that is, too."""

    url: str
    key: str
    key_file: Path

    @property
    def login(self) -> str:
        """What opens it in a browser."""
        return f"{self.url}/login?key={self.key}"


def serve(
    farm: Farm, where: Where, begun: Callable[[Started], None], executor: str = "ray"
) -> None:
    """Answer until SIGINT or SIGTERM. begun: told once it listens. executor: what carries the work
    of campaigns out.

    Raises UsageError for a place where it may not listen.
    """
    with Store(farm.config.store) as store:
        _must_be_meant(where, store)
    with _listening(where) as listener:
        host, port = listener.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        started = Started(url, secrets.token_urlsafe(32), farm.config.store / KEY_FILE)
        own = json.dumps({"url": url, "key": started.key, "pid": os.getpid()})
        # Once the server has ended a signal that ended it may end this process, too.
        forget = partial(_forget, started.key_file, own)
        app = service(farm, started.key, where.called, ended=forget, executor=executor)
        server = Server(settings(app))
        sys.setswitchinterval(_SWITCH_S)
        _have_room_for_connections()
        _keep(started.key_file, own)
        begun(started)
        server.run([listener])


def _have_room_for_connections() -> None:
    """A process may often open 1024 files and no more, though the system allows it many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Server(uvicorn.Server):
    """One that is not kept from ending by those who listen."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        guard: Guard = self.config.app  # type: ignore[assignment]
        guard.hush()
        await super().shutdown(sockets)


def settings(app: Guard) -> uvicorn.Config:
    """How the server runs the service."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # the guard's lines have no queries, which keys may be in
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_AT_ONCE,
        timeout_graceful_shutdown=5,
        lifespan="on",
        ws="none",
    )


def _must_be_meant(where: Where, store: Store) -> None:
    if where.is_loopback:
        return
    if not where.remote:
        raise UsageError(
            f"--host {where.host} lets other computers in; say --remote as well if that is meant"
        )
    if not any(token.state == "valid" for token in store.tokens()):
        raise UsageError(
            "other computers are let in with tokens, and there is none that holds; `farm token "
            "create NAME` makes one"
        )


@contextmanager
def _listening(where: Where) -> Iterator[socket.socket]:
    try:
        family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        listener = socket.create_server((where.host, where.port), family=family, backlog=1024)
    except OSError as e:
        raise UsageError(
            f"{where.host}:{where.port} cannot be listened at: {e.strerror}; choose another --host "
            "or --port"
        ) from e
    with listener:
        # Each connection has them of the socket that it came through.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * _UNREAD_S)
        yield listener


def _keep(path: Path, own: str) -> None:
    """The owner's key, for other programs of theirs, as long as the service runs."""
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        fresh.unlink(missing_ok=True)
        handle = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(own)
        fresh.replace(path)
    except OSError as e:
        raise StoreError(f"{path} cannot be written: {e.strerror}; name another --store") from e


def _forget(path: Path, own: str) -> None:
    """Unless another service has begun since."""
    with suppress(OSError):
        if path.read_text() == own:
            path.unlink()
