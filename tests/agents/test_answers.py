"""What a device may answer, and what becomes of the rest."""

from __future__ import annotations

import copy
import math

import pytest

from agents import pipes, runner_protocol
from agents.on_device.runner import LONGEST_BYTES, Lines
from agents.pipes import Replies, result_of
from agents.remote import upload
from farm.core.errors import DeviceError, DeviceLost

READING = {
    "time_s": 1.0,
    "utc_s": 1.8e9,
    "involuntary_switches": 0,
    "cpu_s": 0.5,
    "waited_s": None,
    "steal_ticks": 3,
    "clock_probe_s": 5e-5,
    "files": {"/sys/class/thermal/thermal_zone0/temp": "nan"},
}
BLOCK = {"samples_s": [1e-3, 2e-3], "runs_per_sample": 4, "before": READING, "after": {**READING}}
NETWORK = {"load_s": 0.1, "warmup_s": [1e-3], "warmup_taken_s": 0.0, "blocks": [BLOCK]}
SESSION = {"networks": [NETWORK], "affinity": [[1]], "unheard": "of"}
SEEN = {
    "uname": ["Linux", "pi\x1b[2J", "6.1", "#1", "aarch64"],
    "python": "3.13.5",
    "affinity": [0, 1],
    "files": {"/proc/cpuinfo": "model name: " + "x" * 5000},
}


def changed(value, way, new):
    made = copy.deepcopy(value)
    *parts, last = way
    inner = made
    for part in parts:
        inner = inner[part]
    inner[last] = new
    return made


BLOCKS = ("networks", 0, "blocks")


@pytest.mark.parametrize(
    ("way", "new", "says"),
    [
        ((*BLOCKS, 0, "samples_s", 1), math.nan, r"blocks\.0\.samples_s\.1: .* finite"),
        ((*BLOCKS, 0, "samples_s", 1), math.inf, r"samples_s\.1"),
        ((*BLOCKS, 0, "samples_s", 0), -1e-3, r"samples_s\.0"),
        ((*BLOCKS, 0, "samples_s", 0), "fast", r"samples_s\.0"),
        ((*BLOCKS, 0, "samples_s"), [], "samples_s"),
        ((*BLOCKS, 0, "runs_per_sample"), 10**12, "runs_per_sample"),
        ((*BLOCKS, 0, "runs_per_sample"), True, "runs_per_sample"),
        ((*BLOCKS, 0, "after", "clock_probe_s"), 0, r"after\.clock_probe_s"),
        ((*BLOCKS, 0, "after", "files"), {"a": {"b": {}}}, r"after\.files"),
        ((*BLOCKS,), None, r"networks\.0\.blocks"),
        (("networks",), {}, "networks"),
    ],
)
def test_of_a_session_must_fit(way, new, says):
    with pytest.raises(DeviceError, match=rf"^pi4 answers what does not fit: .*{says}.*got "):
        runner_protocol.sessions(changed(SESSION, way, new), 1.0, "pi4")


def test_of_a_session_is_kept():
    (found,) = runner_protocol.sessions(SESSION, 2.0, "pi4")
    assert found.blocks[0].samples_s == (1e-3, 2e-3)
    assert "temp_c" not in found.blocks[0].telemetry
    assert found.device_s == 2.0


@pytest.mark.parametrize(
    ("name", "new"), [("uname", ["Linux"]), ("affinity", [-1]), ("affinity", []), ("files", [])]
)
def test_of_a_host_must_fit(name, new):
    with pytest.raises(DeviceError, match=rf"^pi4 answers what does not fit: {name}"):
        runner_protocol.seen({**SEEN, name: new}, "pi4")


def test_texts_of_a_host_are_cut():
    seen = runner_protocol.seen(SEEN, "pi4")
    said = runner_protocol.identity(seen, 1, [0], {})
    assert len(said["cpu"]) == 1024


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"result": [1]},
        {"error": None},
        {"error": {"kind": "crash"}},
        {"error": {"kind": "crash", "message": "x", "network": -1}},
        {"error": {"kind": "crash", "message": "x", "network": "0"}},
    ],
)
def test_without_a_result_there_is_an_error(reply):
    with pytest.raises(DeviceError, match="the runner answers what does not fit"):
        result_of(reply)


def test_an_error_of_a_kind_that_nobody_knows_is_one():
    with pytest.raises(DeviceError, match=r"^odd$") as caught:
        result_of({"error": {"kind": "odd", "message": "odd\x07", "network": 2}})
    assert caught.value.network == 2


def test_a_line_has_an_end(monkeypatch):
    monkeypatch.setattr(pipes, "LONGEST_BYTES", 100)
    replies = Replies()
    replies.feed(b"x" * 101)
    with pytest.raises(DeviceLost, match="more than 100 bytes"):
        replies.find(1)


@pytest.mark.parametrize("line", [b"[" * 200_000, b'{"id": ' + b"9" * 5000 + b"}"])
def test_a_line_that_no_parser_bears_means_that_the_device_is_lost(line):
    replies = Replies()
    replies.feed(line + b"\n")
    with pytest.raises(DeviceLost, match="JSON objects"):
        replies.find(1)


def test_a_request_that_is_too_long_counts_as_an_empty_one():
    lines = Lines()
    lines.feed(b"a\n" + b"x" * (LONGEST_BYTES + 1))
    lines.feed(b"yy\nb\nc")
    assert [lines.next() for _ in range(4)] == [b"a", b"", b"b", None]


class _Stuck:
    """A supervisor that takes everything and keeps nothing."""

    def __init__(self) -> None:
        self.asked = 0

    def request(self, *_):
        self.asked += 1
        return {"id": 1, "result": {"bytes": 0}}

    def close(self) -> None:
        pass


def test_a_device_that_keeps_nothing_is_not_sent_the_same_for_ever():
    stuck = _Stuck()
    with pytest.raises(DeviceError, match="was sent all 5 bytes of"):
        upload.send(stuck, upload.library(b"xxxxx"))
    assert stuck.asked == 3
