"""A few faults of a network, of which nothing comes; and that the wire is as bad as it says."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys

import pytest

from benchmarks.network_faults import struck_by_faults
from benchmarks.struck import Setting
from benchmarks.wire import Wire, as_reset, checksum
from tests.benchmarks.test_faults import WELL
from tests.system import lack, need

LISTEN = """
import socket, sys
with socket.create_server((sys.argv[1], 7777)) as server:
    print("listens", flush=True)
    server.accept()[0].recv(1 << 20)
"""


@pytest.fixture
def rooted():
    need(ip="iproute2")
    if os.geteuid() or not os.access("/dev/net/tun", os.W_OK):
        lack("a host of its own behind a wire needs root and /dev/net/tun")


@pytest.mark.slow
@pytest.mark.usefixtures("rooted")
def test_nothing_is_lost_by_a_few_faults():
    few = {"executor": "inline", "budget": 3, "seed": 16}  # a reset, loss, a freeze
    tally, found = struck_by_faults(Setting(faults=3, cluster="", devices=["net1"], **few))
    assert {name: found[name] for name in WELL} == WELL
    assert tally.faults.total() == 3


@pytest.mark.usefixtures("rooted")
def test_a_wire_fails_as_it_is_told_to():
    with Wire(f"wire{os.getpid()}"[:10], seed=0) as wire:
        argv = [*wire.inside, sys.executable, "-c", LISTEN, wire.there]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as there:
            assert there.stdout.readline() == b"listens\n"
            assert there.pid in wire.pids()
            wire.up = False
            with pytest.raises(TimeoutError):
                socket.create_connection((wire.there, 7777), timeout=0.3)
            wire.heal()
            with socket.create_connection((wire.there, 7777), timeout=30) as link:
                assert link.getsockname()[0] == wire.here
                wire.reset = True
                link.sendall(b"x" * 5000)
            assert there.wait(30) == 1  # ConnectionResetError


def test_a_reset_is_a_packet_that_is_in_order():
    tcp = struct.pack("!HHIIBBHHH", 4000, 22, 7, 9, 8 << 4, 16, 512, 0, 0) + bytes(12) + b"data"
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0)
    packet = as_reset(head + bytes((10, 0, 0, 1, 10, 0, 0, 2)) + tcp)
    assert len(packet) == 40 == struct.unpack("!H", packet[2:4])[0]
    assert packet[33] == 4
    assert struct.unpack("!HHII", packet[20:32]) == (4000, 22, 7, 9)
    pseudo = packet[12:20] + struct.pack("!BBH", 0, 6, 20)
    assert (checksum(packet[:20]), checksum(pseudo + packet[20:])) == (0, 0)
