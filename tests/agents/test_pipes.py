"""The pipe to a runner on this computer; what all pipes do is in test_pipe_conformance.py."""

from __future__ import annotations

import os
import sys

import psutil
import pytest

from agents.pipes import LocalPipe, Replies
from farm.core.errors import DeviceLost


def script(code: str) -> LocalPipe:
    return LocalPipe([sys.executable, "-c", code])


class TestReplies:
    def test_are_put_together_from_pieces(self):
        replies = Replies()
        found = []
        for byte in b'{"id": 1, "result": {}}\n{"id": 2, "result": {"a": "\\u00e9"}}\n':
            replies.feed(bytes([byte]))
            found.append(replies.find(2))
        assert [reply for reply in found if reply] == [{"id": 2, "result": {"a": "é"}}]

    @pytest.mark.parametrize("line", [b"Welcome to Debian!\n", b"[1]\n", b"\xff\xfe\n"])
    def test_of_something_else_mean_that_the_runner_is_lost(self, line):
        replies = Replies()
        replies.feed(line)
        with pytest.raises(DeviceLost, match="JSON"):
            replies.find(1)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import os; os.kill(os.getpid(), 9)", "ended with -9: silent"),
        ("import sys; print('half a li', end='')", "ended with 0: silent"),
        ("import sys; sys.stdin.read(3); sys.exit(4)", "ended with 4: silent"),
    ],
)
def test_the_end_of_a_runner_says_how(code, says):
    with script(code) as pipe, pytest.raises(DeviceLost, match=says):
        pipe.request({"n": "x" * 1_000_000}, 60)


def test_a_runner_is_out_of_reach_of_the_terminals_interrupts():
    with script("import sys; sys.stdin.read()") as pipe:
        assert os.getsid(pipe.pid) == pipe.pid != os.getsid(0)


def test_there_must_be_such_a_program():
    with pytest.raises(DeviceLost, match="cannot start the runner '/no/such/python'"):
        LocalPipe(["/no/such/python"])


@pytest.mark.slow
def test_closing_ends_even_who_does_not_listen():
    stubborn = "import sys, time\nprint('{\"id\": 1}', flush=True)\ntime.sleep(600)"
    pipe = script(stubborn)
    pipe.request({}, 60)
    process = psutil.Process(pipe.pid)
    pipe.close()
    assert not process.is_running()
    pipe.close()
