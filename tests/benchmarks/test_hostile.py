"""Malformed input, a little of each kind; and that the benchmark would see harm."""

from __future__ import annotations

import sys

import pytest

from benchmarks import hostile
from benchmarks.hostile import KINDS, Peer, Tally, ask, is_reply, on_reader
from farm.core.errors import ConfigError


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "count"),
    [
        *(("runner", 60), ("supervisor", 150), ("farm", 60)),
        *(("cluster.yaml", 60), ("cells", 200), ("onnx", 40), ("rows", 25)),
    ],
)
def test_nothing_comes_of_it(what, count):
    (row,) = hostile.tallies(count, count, seed=1, only=what)
    assert row["sent"] > count * 0.8
    assert {kind: row[kind] for kind in KINDS} == dict.fromkeys(KINDS, 0), row["first"]


@pytest.mark.parametrize(
    ("program", "kind"),
    [("import sys; sys.stdin.readline()", "crashes"), ("input(); print('what?')", "tracebacks")],
)
def test_a_peer_that_gives_way_is_counted(program, kind, tmp_path, seeded):
    tally, peer = (
        Tally("peer"),
        Peer([sys.executable, "-c", program], greeting=False, home=tmp_path),
    )
    try:
        ask(tally, peer, [{"id": 1, "op": "facts"}], seeded)
    finally:
        peer.end()
    assert (tally.sent, dict(tally.counts)) == (1, {kind: 1})


@pytest.fixture
def seeded():
    import random

    return random.Random(0)


def _read(text: bytes) -> None:
    if text == b"refused":
        raise ConfigError("as it should be")
    if text == b"killed":
        import os

        os.kill(os.getpid(), 9)
    assert text != b"wrong"


def test_a_reader_that_gives_way_is_counted():
    tally = on_reader("reader", [b"right", b"refused", b"wrong", b"killed", b"right"], _read)
    assert (tally.sent, dict(tally.counts)) == (5, {"tracebacks": 1, "crashes": 1})
    assert "AssertionError in test_hostile.py" in tally.first[0]


@pytest.mark.parametrize(
    ("line", "right"),
    [
        (b'{"id": null, "error": {"kind": "bad_request", "message": ""}}\n', True),
        (b'{"id": 1, "result": {}}\n', True),
        (b'{"id": 1, "error": {"kind": "odd", "message": ""}}\n', False),
        (b'{"result": {}}\n', False),
        (b"Traceback (most recent call last):\n", False),
    ],
)
def test_what_a_reply_is(line, right):
    assert is_reply(line) == right
