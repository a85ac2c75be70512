"""Connections over SSH: to whom, how they are made sure of, and what their errors mean here."""

from __future__ import annotations

import hashlib
import logging
import socket
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from farm.core.errors import DeviceLost, DeviceUnfit

if TYPE_CHECKING:
    from paramiko import PKey, Transport

CONNECT_S = 30.0
"""For a connection, and again for a login; a Raspberry Pi under load takes two or three seconds."""

_SSH_PORT = 22


@dataclass(frozen=True)
class Address:
    """Where a device is: a name or an IP address, and who logs in there."""

    user: str
    host: str
    port: int = _SSH_PORT

    @classmethod
    def parse(cls, text: str) -> Address:
        """USER@HOST or USER@HOST:PORT; an IPv6 address is in brackets. Raises ValueError."""
        user, _, place = text.rpartition("@")
        host, colon, port = place.rpartition(":")
        if not colon or port.endswith("]"):
            host, port = place, str(_SSH_PORT)
        if not user or not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise ValueError(f"`host` is written USER@HOST or USER@HOST:PORT, got {text!r}")
        return cls(user, host.strip("[]"), int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}" + (f":{self.port}" if self.port != _SSH_PORT else "")

    @property
    def place(self) -> str:
        """The address without the user, as OpenSSH writes it into known_hosts."""
        return self.host if self.port == _SSH_PORT else f"[{self.host}]:{self.port}"


@dataclass(frozen=True)
class HostKey:
    """A host's public key: its type, such as `ssh-ed25519`, and its SHA-256 as OpenSSH shows it."""

    type: str
    fingerprint: str

    @classmethod
    def parse(cls, text: str) -> HostKey:
        """The inverse of `str`. Raises ValueError."""
        kind, _, fingerprint = text.partition(" ")
        if not kind or not fingerprint.startswith("SHA256:"):
            raise ValueError(f"`host_key` is written TYPE SHA256:..., got {text!r}")
        return cls(kind, fingerprint)

    @classmethod
    def of(cls, key: PKey) -> HostKey:
        return cls._of_bytes(key.get_name(), key.asbytes())

    @classmethod
    def read(cls, path: Path) -> HostKey:
        """Of a public key's file, as ssh-keygen writes it."""
        kind, data, *_ = path.read_text().split()
        return cls._of_bytes(kind, b64decode(data))

    @classmethod
    def _of_bytes(cls, kind: str, data: bytes) -> HostKey:
        digest = b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        return cls(kind, f"SHA256:{digest}")

    def __str__(self) -> str:
        return f"{self.type} {self.fingerprint}"


def host_keys(address: Address) -> list[HostKey]:
    """All keys that a host shows, the best type first, before any login. Raises DeviceLost."""
    found = []
    for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"):
        with suppress(DeviceUnfit), connected(address, kind) as transport:
            found.append(HostKey.of(transport.get_remote_server_key()))
    return found


def known_host_keys(address: Address, path: Path) -> list[HostKey]:
    """What a known_hosts file says that a host's keys are; nothing where it does not know it."""
    from paramiko import HostKeys

    known = HostKeys()
    with suppress(OSError):
        known.load(str(path))
    return [HostKey.of(key) for key in (known.lookup(address.place) or {}).values()]


@contextmanager
def connected(address: Address, key_type: str, slack: float = 1.0) -> Iterator[Transport]:
    """A connection to a host that has shown its key of this type; nobody is logged in yet.

    slack: as in `in_time`.

    Raises DeviceLost where the host is not reached, or lost in the block, and DeviceUnfit where
    it has no such key.
    """
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # its errors are raised as well
    with _translated(address, key_type), _connected_socket(address) as sock:
        from paramiko import Transport

        transport = Transport(sock)
        # We watch it ourselves.
        transport.banner_timeout = transport.handshake_timeout = 2 * slack * CONNECT_S
        transport.get_security_options().key_types = _algorithms(key_type)
        try:
            with in_time(transport, address, slack):
                transport.start_client()
            yield transport
        finally:
            transport.close()


@contextmanager
def in_time(transport: Transport, address: Address, slack: float = 1.0) -> Iterator[None]:
    """Closes the connection where a block takes longer than `CONNECT_S`, and raises DeviceLost.

    slack: so many times as long it may take.

    Not every wait in paramiko has a deadline of its own; all end when it is closed.
    """
    late, limit_s = threading.Event(), slack * CONNECT_S

    def close() -> None:
        late.set()
        transport.close()

    timer = threading.Timer(limit_s, close)
    timer.start()
    try:
        yield
    except Exception as e:
        if not late.is_set():
            raise
        reason = f"{address.place} accepts the connection, but is silent for {limit_s:g} s"
        raise DeviceLost(reason) from e
    finally:
        timer.cancel()


def log_in(transport: Transport, address: Address, key: Path) -> None:
    """Raises DeviceUnfit where the key is not usable, or not accepted."""
    from paramiko import AuthenticationException

    try:
        transport.auth_publickey(address.user, _private_key(key))
    except AuthenticationException as e:
        raise DeviceUnfit(
            f"{address} does not accept the key {key}; append {key}.pub to ~/.ssh/authorized_keys "
            "there, for example with ssh-copy-id"
        ) from e


def _private_key(path: Path) -> PKey:
    from paramiko import PKey, SSHException
    from paramiko.pkey import UnknownKeyType

    try:
        return PKey.from_path(path)
    except (OSError, ValueError, TypeError, SSHException, UnknownKeyType) as e:
        raise DeviceUnfit(
            f"{path} must be a private key without a passphrase: {str(e).splitlines()[0]}"
        ) from e


@contextmanager
def _connected_socket(address: Address) -> Iterator[socket.socket]:
    with socket.create_connection((address.host, address.port), CONNECT_S) as sock:
        # Ends a connection whose other end acknowledges nothing; a heartbeat sees the rest.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(CONNECT_S * 1000))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield sock


@contextmanager
def _translated(address: Address, key_type: str) -> Iterator[None]:
    """The farm's errors for those of sockets and of paramiko."""
    from paramiko import SSHException
    from paramiko.ssh_exception import IncompatiblePeer

    try:
        yield
    except IncompatiblePeer as e:
        raise DeviceUnfit(f"{address.place} has no host key of type {key_type}") from e
    except OSError as e:
        reason = e.strerror or str(e)
        raise DeviceLost(f"{address.place} cannot be reached: {reason}; is it on?") from e
    except (SSHException, EOFError) as e:
        reason = (str(e) or "it closed the connection").splitlines()[0]
        raise DeviceLost(f"{address.place} breaks SSH off: {reason}") from e


def _algorithms(key_type: str) -> list[str]:
    """The names of signatures that a key of this type makes (RFC 8332 for RSA)."""
    return ["rsa-sha2-512", "rsa-sha2-256"] if key_type == "ssh-rsa" else [key_type]
