"""The pipe to a runner, with runners of a few lines that misbehave."""

from __future__ import annotations

import os
import sys

import psutil
import pytest

from agents.pipes import LocalPipe, Replies, result_of
from farm.core.errors import DeviceError, DeviceLost, NetworkCrashed

ECHO = """
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps({"id": request["id"], "result": {"got": request["n"]}}), flush=True)
"""

LATE = """
import json, sys
first, second = (json.loads(sys.stdin.readline()) for _ in range(2))
for request in (first, second):
    print(json.dumps({"id": request["id"], "result": {"got": request["n"]}}), flush=True)
sys.stdin.read()
"""


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


def test_an_error_becomes_one_of_the_farm():
    with pytest.raises(NetworkCrashed, match=r"^it died$"):
        result_of({"id": 1, "error": {"kind": "crash", "message": "it died"}})
    with pytest.raises(DeviceError, match="what is this"):
        result_of({"id": 1, "error": {"kind": "bad_request", "message": "what is this"}})
    assert result_of({"id": 1, "result": {"a": 1}}) == {"a": 1}


def test_requests_are_answered_in_turn():
    with script(ECHO) as pipe:
        assert [pipe.request({"n": n}, 60)["result"]["got"] for n in range(5)] == list(range(5))


def test_more_than_a_pipe_holds_goes_both_ways():
    text = "x" * 1_000_000
    with script(ECHO) as pipe:
        assert pipe.request({"n": text}, 60)["result"]["got"] == text


def test_a_late_reply_is_never_taken_for_anothers():
    with script(LATE) as pipe:
        with pytest.raises(DeviceLost, match="silent"):
            pipe.request({"n": "first"}, 0.1)
        assert pipe.request({"n": "second"}, 60)["result"]["got"] == "second"


def test_a_runner_that_does_not_even_read_keeps_nobody_waiting():
    with (
        script("import time; time.sleep(600)") as pipe,
        pytest.raises(DeviceLost, match=r"silent for 0.1 s"),
    ):
        pipe.request({"n": "x" * 1_000_000}, 0.1)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.exit('no such board')", "ended with 1: no such board"),
        ("import os; os.kill(os.getpid(), 9)", "ended with -9: silent"),
        ("import sys; print('half a li', end='')", "ended with 0: silent"),
        ("import sys; sys.stdin.read(3); sys.exit(4)", "ended with 4: silent"),
    ],
)
def test_the_end_of_a_runner_says_how(code, says):
    with script(code) as pipe, pytest.raises(DeviceLost, match=says):
        pipe.request({"n": "x" * 1_000_000}, 60)


def test_much_on_stderr_blocks_nothing():
    noisy = "import sys\nsys.stderr.write('y' * 1_000_000)\nsys.stderr.close()" + ECHO
    with script(noisy) as pipe:
        assert pipe.request({"n": 7}, 60)["result"]["got"] == 7


def test_a_runner_is_out_of_reach_of_the_terminals_interrupts():
    with script(ECHO) as pipe:
        assert os.getsid(pipe.pid) == pipe.pid != os.getsid(0)


def test_there_must_be_such_a_program():
    with pytest.raises(DeviceLost, match="cannot start the runner '/no/such/python'"):
        LocalPipe(["/no/such/python"])


def test_closing_ends_even_who_does_not_listen():
    stubborn = "import sys, time\nprint('{\"id\": 1}', flush=True)\ntime.sleep(600)"
    pipe = script(stubborn)
    pipe.request({}, 60)
    process = psutil.Process(pipe.pid)
    pipe.close()
    assert not process.is_running()
    pipe.close()
