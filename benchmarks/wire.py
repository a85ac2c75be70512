"""A wire to a host of its own that can be cut, frozen, slowed down, made lossy, and reset.

The host is a network namespace of this computer; the wire is two TUN devices and a thread that
carries packets between them, as not every kernel has `tc netem`. It takes root.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from contextlib import suppress
from typing import Self

_TUNSETIFF, _TUN_WITHOUT_HEADER = 0x400454CA, 0x1001
_TCP, _RST = 6, 4
_LOOK_S = 0.1


class Wire:
    """A context manager. here, there: the addresses of its ends. inside: the start of a command
    that runs on the other host.

    up: whether packets are carried. frozen: they wait, and come later. loss: share of packets that
    are lost. delay_s: each way. reset: the next large packet becomes a reset of its connection.
    """

    def __init__(self, name: str, seed: int) -> None:
        """name: of the host, at most ten characters, unlike any other on this computer."""
        block = os.getpid() % (1 << 14)  # of four addresses: processes have wires of their own
        self.here, self.there = (f"10.99.{block >> 6}.{4 * (block & 63) + end}" for end in (1, 2))
        self.inside = ("ip", "netns", "exec", name)
        self._name, self._rng = name, random.Random(seed)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self.heal()

    def heal(self) -> None:
        """As a good wire is."""
        self.up, self.frozen, self.loss, self.delay_s, self.reset = True, False, 0.0, 0.0, False

    def __enter__(self) -> Self:
        _ip("netns", "add", self._name)
        try:
            ends = (f"{self._name}0", self.here), (f"{self._name}1", self.there)
            self._ends = [_tun(name) for name, _ in ends]
            _ip("link", "set", ends[1][0], "netns", self._name)
            for where, (name, address) in zip(((), ("-n", self._name)), ends, strict=True):
                _ip(*where, "addr", "add", f"{address}/30", "dev", name)
                _ip(*where, "link", "set", name, "up")
            _ip("-n", self._name, "link", "set", "lo", "up")
        except BaseException:
            _ip("netns", "del", self._name)
            raise
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()
        for end in self._ends:
            os.close(end)
        _ip("netns", "del", self._name)

    def pids(self) -> set[int]:
        """The processes on the other host."""
        said = subprocess.run(
            ["ip", "netns", "pids", self._name], check=True, stdout=subprocess.PIPE, text=True
        )
        return set(map(int, said.stdout.split()))

    def _carry(self) -> None:
        waiting: list[tuple[float, int, int, bytes]] = []
        number = 0
        while not self._ended.is_set():
            now_s = time.monotonic()
            while waiting and waiting[0][0] <= now_s and not self.frozen:
                *_, end, packet = heapq.heappop(waiting)
                with suppress(OSError):
                    os.write(end, packet)
            until_s = waiting[0][0] - now_s if waiting and not self.frozen else _LOOK_S
            readable, _, _ = select.select(self._ends, [], [], min(max(until_s, 0.0), _LOOK_S))
            for end in readable:
                packet = os.read(end, 1 << 16)
                if not self.up or self._rng.random() < self.loss:
                    continue
                number += 1
                other = self._ends[1 - self._ends.index(end)]
                due_s = time.monotonic() + self.delay_s
                heapq.heappush(waiting, (due_s, number, other, self._maybe_reset(packet)))

    def _maybe_reset(self, packet: bytes) -> bytes:
        if not self.reset or len(packet) < 1000 or packet[9] != _TCP:
            return packet
        self.reset = False
        return as_reset(packet)


def as_reset(packet: bytes) -> bytes:
    """An IPv4 packet of TCP as the reset of its connection."""
    start = 4 * (packet[0] & 15)
    ip, tcp = bytearray(packet[:start]), bytearray(packet[start : start + 20])
    ip[2:4] = struct.pack("!H", start + 20)
    ip[10:12] = b"\0\0"
    ip[10:12] = struct.pack("!H", checksum(bytes(ip)))
    tcp[12:14] = bytes((5 << 4, _RST))
    tcp[16:18] = b"\0\0"
    pseudo = packet[12:20] + struct.pack("!BBH", 0, _TCP, 20)
    tcp[16:18] = struct.pack("!H", checksum(pseudo + bytes(tcp)))
    return bytes(ip + tcp)


def checksum(data: bytes) -> int:
    """RFC 1071; data: of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _tun(name: str) -> int:
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH", name.encode(), _TUN_WITHOUT_HEADER))
    return end


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
