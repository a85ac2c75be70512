"""What every pipe does, over a peer of a few lines that behaves as it is asked to.

The peer is the runner of a `LocalPipe`; of an `SshPipe` it plays the Python of the device, which
is given the supervisor's text and has to say that it started.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from agents.pipes import LocalPipe, Pipe, result_of
from agents.remote.pipe import SshPipe
from farm.core.errors import (
    BadArtifact,
    DeviceBusy,
    DeviceError,
    DeviceLost,
    DeviceUnfit,
    MeasureTimeout,
    NetworkCrashed,
    WrongOutput,
)

PEER = r"""
import json, os, pathlib, re, sys, time

pathlib.Path(__file__).with_suffix(".pid").write_text(str(os.getpid()))
if sys.argv[1:]:
    boot, word = sys.argv[1:]
    sys.stdin.buffer.read(int(re.search(r"read\((\d+)\)", boot)[1]))
    print("supervisor", word, flush=True)

def answer(id, **said):
    print(json.dumps({"id": id, **said}), flush=True)

for line in sys.stdin:
    request = json.loads(line)
    id, do = request["id"], request.get("do", "reply")
    if do == "say":
        print(request["line"], flush=True)
    if do == "complain":
        sys.stderr.write("y" * request["size"] + "\n")
        sys.stderr.flush()
    if do == "end":
        sys.exit(request["last"])
    if do == "sleep":
        time.sleep(request["for_s"])
    if do == "fail":
        answer(id, error=request["error"])
    elif do == "flood":
        while True:
            answer(0, result="x" * 1000)
    elif do != "ignore":
        answer(id, result={"got": request.get("n")})
"""

SOON_S = 10.0
"""Longer than anything here takes, and shorter than the deadlines that must not be waited for."""


@pytest.fixture(params=["local", pytest.param("ssh", marks=pytest.mark.slow)])
def pipe(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pipe]:
    peer = tmp_path / "peer.py"
    peer.write_text(PEER)
    with ExitStack() as stack:
        if request.param == "local":
            yield stack.enter_context(LocalPipe([sys.executable, str(peer)]))
        else:
            server = request.getfixturevalue("ssh_server")
            python = tmp_path / "python3"
            python.write_text(f'#!/bin/sh\nexec {sys.executable} {peer} "$4" "$5"\n')
            python.chmod(0o755)
            open_pipe = SshPipe(server.address, server.key, server.host_key, str(python), 0.2)
            yield stack.enter_context(open_pipe)


@pytest.fixture
def peer(pipe: Pipe, tmp_path: Path) -> psutil.Process:
    """The process at the other end, which has started."""
    pipe.request({}, 60)
    return psutil.Process(int((tmp_path / "peer.pid").read_text()))


def taken_s(act: Callable[[], object]) -> float:
    start_s = time.monotonic()
    act()
    return time.monotonic() - start_s


def got(pipe: Pipe, **message: object) -> object:
    return result_of(pipe.request(message, 60))["got"]


def test_requests_are_answered_in_turn(pipe):
    assert [got(pipe, n=n) for n in range(5)] == list(range(5))


def test_a_megabyte_goes_both_ways(pipe):
    text = "x" * 1_000_000
    assert got(pipe, n=text) == text


def test_the_pipe_sets_the_id(pipe):
    first, second = (pipe.request({"id": 7, "n": n}, 60) for n in range(2))
    assert first["id"] != second["id"]
    assert (first["result"]["got"], second["result"]["got"]) == (0, 1)


@pytest.mark.parametrize("line", ['{"id": 99, "result": {"got": 1}}', '{"id": null}', "{}"])
def test_replies_to_nobody_are_passed_over(pipe, line):
    assert got(pipe, do="say", line=line, n=2) == 2
    assert got(pipe, n=3) == 3


@pytest.mark.parametrize("line", ["Broadcast message from root", "[1]", "{", ""])
def test_a_line_that_is_no_reply_means_that_the_device_is_lost(pipe, line):
    with pytest.raises(DeviceLost, match="must answer with JSON objects, got b'"):
        pipe.request({"do": "say", "line": line}, 60)


def test_silence_has_a_deadline_and_a_late_reply_is_never_taken_for_anothers(pipe):
    def wait_in_vain() -> None:
        with pytest.raises(DeviceLost, match=r"0\.2 s"):
            pipe.request({"do": "sleep", "for_s": 0.6, "n": "first"}, 0.2)

    assert 0.2 <= taken_s(wait_in_vain) < SOON_S
    assert got(pipe, n="second") == "second"


@pytest.mark.slow
@pytest.mark.usefixtures("peer")
def test_who_does_not_even_read_keeps_nobody_waiting(pipe):
    """More than the pipe, and the window of an SSH channel, hold."""

    def wait_in_vain() -> None:
        with pytest.raises(DeviceLost):
            pipe.request({"n": "x" * 8_000_000}, 0.2)

    with pytest.raises(DeviceLost):
        pipe.request({"do": "sleep", "for_s": 600}, 0.2)
    assert taken_s(wait_in_vain) < SOON_S


def test_the_end_of_the_peer_says_how_at_once_and_from_then_on(pipe, peer):
    def ask_in_vain() -> None:
        with pytest.raises(DeviceLost, match="ended with 1: no such board"):
            pipe.request({"do": "end", "last": "no such board"}, 600)
        with pytest.raises(DeviceLost):
            pipe.request({}, 600)

    assert taken_s(ask_in_vain) < SOON_S
    psutil.wait_procs([peer], timeout=SOON_S)
    assert not alive(peer)


def test_a_peer_that_is_killed_is_missed_at_once(pipe, peer):
    def ask_in_vain() -> None:
        with pytest.raises(DeviceLost, match="ended with"):
            pipe.request({}, 600)

    peer.kill()
    assert taken_s(ask_in_vain) < SOON_S


def test_much_on_stderr_blocks_nothing(pipe):
    assert got(pipe, do="complain", size=1_000_000, n=7) == 7
    with pytest.raises(DeviceLost, match=r"ended with 1: .*the last word"):
        pipe.request({"do": "end", "last": "the last word"}, 60)


ERRORS = {
    "artifact": BadArtifact,
    "bad_request": DeviceError,
    "busy": DeviceBusy,
    "crash": NetworkCrashed,
    "timeout": MeasureTimeout,
    "unfit": DeviceUnfit,
    "wrong_output": WrongOutput,
}


def test_an_error_has_its_name_and_ends_nothing(pipe):
    for kind, error in ERRORS.items():
        said = {"kind": kind, "message": f"it is {kind}", "network": 3}
        with pytest.raises(DeviceError, match=f"^it is {kind}$") as caught:
            got(pipe, do="fail", error=said)
        assert type(caught.value) is error
        assert caught.value.network == 3
    assert got(pipe, n=1) == 1


@pytest.mark.parametrize("do", ["reply", "ignore", "flood", "end"])
def test_closing_ends_the_peer_whatever_it_does_and_again_does_nothing(pipe, peer, do):
    if do != "reply":
        with pytest.raises(DeviceLost):
            pipe.request({"do": do, "last": "gone"}, 0.2 if do != "end" else 60)
    assert taken_s(pipe.close) < SOON_S
    psutil.wait_procs([peer], timeout=SOON_S)
    assert not alive(peer)
    assert taken_s(pipe.close) < 1


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
