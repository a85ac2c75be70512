"""Runs compiled networks on a device: `python -I -S runner.py --runtime BUNDLE`.

Needs Linux, Python 3.9, the files of `agents.pipes.DEVICE_FILES` beside it and the slim runtime
(`agents/runtime/bundle.py`), nothing else of the farm, so that they can be sent to a device. It is
a fork server: the parent maps the runtime but never starts a thread or loads a network, and a
forked child does the work of each request. A network that crashes or hangs takes nothing but its
child with it.

Requests and replies are JSON objects, one a line, on stdin and stdout. `program` and `spec` are
those of `farm.core.values`, `read` names files whose text is wanted, of those that
`agents.on_device.timing.READABLE` has, `kind` is one of `ERROR_KINDS`; `network` is the number of
the one that it happened to, where that is known:

    {"id": 1, "op": "facts", "read": ["/proc/cpuinfo"]}
    {"id": 2, "op": "run", "networks": [{"library": "a.so", "sha256": "...", "program": {...}}],
     "threads": 1, "cores": [1], "seed": 0, "timeout_s": 60}
    {"id": 3, "op": "session", "spec": {...}, "order": 7, "read": ["/proc/loadavg"], ... as run}

    {"id": 1, "result": {...}}
    {"id": 2, "error": {"kind": "crash", "message": "died of SIGSEGV", "network": 0}}

Each network has `timeout_s` (60 if not given) for what it does at a stretch, to load or to be
timed for a block, and all of them together as many times more.

A line that is no request, or has more than `LONGEST_BYTES`, is answered with an error.

The runner ends when its stdin ends, or when the process that started it does.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and "glibc.malloc.hugetlb" not in os.environ.get("GLIBC_TUNABLES", ""):
    # Once more, with all tensors from one heap, in pages of 2 MB where the host gives those on
    # request, before anything else is imported twice. Which small pages a process gets differs from
    # one to the next, and moves a network whose weights fill a cache by some percent. A C library
    # that knows no such wish ignores it. Ours comes first: a program sees no more of them.
    os.environ["GLIBC_TUNABLES"] = (
        "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=1073741824:"
        f"glibc.malloc.top_pad=67108864:{os.environ.get('GLIBC_TUNABLES', '')}"
    ).rstrip(":")
    try:  # noqa: SIM105 - contextlib takes a while to import
        os.execv(sys.executable, [sys.executable, "-I", "-S", *sys.argv])
    except OSError:
        pass  # an emulated process that cannot start another

import argparse
import contextlib
import ctypes
import json
import resource
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING or __package__:
    from agents.on_device.loading import Refused, load_runtime, one_line
    from agents.on_device.timing import OPERATIONS
else:  # on a device, where there is no package
    sys.path.insert(0, str(Path(__file__).parent))
    from loading import Refused, load_runtime, one_line
    from timing import OPERATIONS

ERROR_KINDS = ("artifact", "bad_request", "crash", "timeout", "unfit", "wrong_output")

LONGEST_BYTES = 1 << 26
"""Of a request: 50 networks have less than a tenth of it."""

LONGEST_S = 1e6
"""Eleven days: a timeout beyond is a mistake."""

Json = dict[str, Any]


def _detach(parent: int) -> None:
    """Makes a forked child a group of its own that reads nothing and never outlives `parent`."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _work(request: Json, bundle: Path, parent: int, result: int) -> NoReturn:
    """The whole life of a child. It writes lines to the descriptor `result`: the number of a
    network each time that it begins something with it, and in the end one reply."""
    try:
        _detach(parent)
        with open(result, "w", buffering=1) as pipe:
            json.dump(_reply(request, bundle, lambda number: print(number, file=pipe)), pipe)
    finally:
        os._exit(0)


def _reply(request: Json, bundle: Path, begin: Callable[[int], Any]) -> Json:
    try:
        return {"result": OPERATIONS[request["op"]](request, bundle, begin)}
    except Refused as e:
        return error_reply(e.kind, str(e))
    except (ArithmeticError, LookupError, TypeError, ValueError) as e:
        return error_reply("bad_request", f"the request does not fit: {one_line(e)}")
    except BaseException as e:  # noqa: BLE001 - whatever a network raises is its own end
        return error_reply("crash", f"the network raised {one_line(e)}")


def error_reply(kind: str, message: str) -> Json:
    return {"error": {"kind": kind, "message": message}}


def _end(child: int) -> str:
    """Kills what is left of a child and of what it started; how it ended, in words."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return f"died of {_signal_name(os.WTERMSIG(status))}"
    return f"ended its process with status {os.WEXITSTATUS(status)}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals between the first and the last
        return f"signal {number}"


class Lines:
    """Puts what is read together to lines. One that is too long counts as empty."""

    def __init__(self) -> None:
        self._whole: deque[bytes] = deque()
        self._begun = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> None:
        first, *rest = data.split(b"\n")
        self._add(first)
        for part in rest:
            self._whole.append(bytes(self._begun))
            self._begun, self._skipping = bytearray(), False
            self._add(part)

    def _add(self, part: bytes) -> None:
        self._skipping = self._skipping or len(self._begun) + len(part) > LONGEST_BYTES
        if self._skipping:
            self._begun.clear()
        else:
            self._begun += part

    def next(self) -> bytes | None:
        return self._whole.popleft() if self._whole else None


class Server:
    """Answers requests, one after the other, until nobody is left to answer to."""

    def __init__(self, bundle: Path, replies: int) -> None:
        """replies: the descriptor that replies are written to."""
        self._bundle = bundle
        self._replies = os.fdopen(replies, "w", buffering=1)
        self._lines = Lines()
        self._fastest_look = float("inf")  # of all children: see core.CoreProbe
        self._selector = selectors.PollSelector()
        self._selector.register(0, selectors.EVENT_READ, "requests")
        # Before Linux 5.3 the end of stdin has to do.
        with contextlib.suppress(AttributeError, OSError):
            self._selector.register(os.pidfd_open(os.getppid()), selectors.EVENT_READ, "farm")

    def serve(self) -> None:
        with contextlib.suppress(EOFError, BrokenPipeError):
            while True:
                while (line := self._lines.next()) is None:
                    self._wait(None)
                self._replies.write(json.dumps(self._answer(line)) + "\n")

    def _wait(self, timeout_s: float | None) -> bool:
        """Whether the child has something to say; requests that come meanwhile are kept."""
        ready = {key.data for key, _ in self._selector.select(timeout_s)}
        if "requests" in ready:
            data = os.read(0, 1 << 16)
            self._lines.feed(data)
            ready |= set() if data else {"farm"}
        if "farm" in ready:
            raise EOFError("nobody is left to answer to")
        return "child" in ready

    def _answer(self, line: bytes) -> Json:
        number = None
        try:
            request = parsed(line)
            number = request["id"]
            limits_s = _limits_s(request)
        except (ArithmeticError, KeyError, TypeError, ValueError, RecursionError) as e:
            return {"id": number, **error_reply("bad_request", f"no request: {one_line(e)}")}
        try:
            reply = self._in_child({**request, "fastest_look": self._fastest_look}, *limits_s)
        except OSError as e:
            return {"id": number, **error_reply("unfit", f"the host is full: {one_line(e)}")}
        fastest = reply.get("result", {}).get("fastest_look")
        if isinstance(fastest, float) and fastest > 0:
            self._fastest_look = fastest
        return {"id": number, **reply}

    def _in_child(self, request: Json, timeout_s: float, total_s: float) -> Json:
        """The reply of a child, or why there is none, with the network that it was busy with."""
        result, child_result = os.pipe()
        parent, child = os.getpid(), os.fork()
        if child == 0:
            self._replies.close()
            _work(request, self._bundle, parent, child_result)
        os.close(child_result)
        with contextlib.suppress(OSError):  # whoever comes first, the group is there to be killed
            os.setpgid(child, child)
        self._selector.register(result, selectors.EVENT_READ, "child")
        late, lines = None, [b""]
        try:
            late, lines = self._collect(result, timeout_s, total_s)
        finally:
            ending = _end(child)
            self._selector.unregister(result)
            os.close(result)
        return _read(lines, late or error_reply("crash", f"the network {ending}"))

    def _collect(
        self, result: int, timeout_s: float, total_s: float
    ) -> tuple[Json | None, list[bytes]]:
        """What a child writes to the descriptor `result`, until it is late with the next line."""
        end_s = time.monotonic() + total_s
        text, chunk = bytearray(), b"-"
        while chunk:
            left_s = min(timeout_s, end_s - time.monotonic())
            if left_s <= 0 or not self._said_something(left_s):
                reason = f"no result within {timeout_s:g} s"
                return error_reply("timeout", reason), bytes(text).splitlines()
            chunk = os.read(result, 1 << 16)
            text += chunk
            if len(text) > LONGEST_BYTES:
                reason = f"the network wrote more than {LONGEST_BYTES} bytes for its reply"
                return error_reply("crash", reason), []
        return None, bytes(text).splitlines()

    def _said_something(self, timeout_s: float) -> bool:
        """Whether the child does within `timeout_s`; requests that come meanwhile only wait."""
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            if self._wait(left_s):
                return True
        return False


def parsed(line: bytes) -> Json:
    """The request in a line. Raises ValueError, or RecursionError, for one that is none."""
    request = json.loads(line)
    if not isinstance(request, dict):
        raise ValueError(f"a request is a JSON object, got {line[:80]!r}")
    if type(request.get("id", 0)) is not int:
        raise ValueError("a request's `id` is an integer")
    return request


def _limits_s(request: Json) -> tuple[float, float]:
    """For what a network does at a stretch, and for all of them."""
    timeout_s, networks = float(request.get("timeout_s", 60)), request.get("networks", [])
    if not 0 <= timeout_s <= LONGEST_S:
        raise ValueError(f"`timeout_s` must be from 0 to {LONGEST_S:g}, got {timeout_s:g}")
    if not isinstance(networks, list):
        raise ValueError("`networks` must be a list")
    return timeout_s, timeout_s * max(1, len(networks))


def _read(lines: list[bytes], otherwise: Json) -> Json:
    """The reply in the last of a child's lines; else `otherwise`. The line before, or the last,
    names the network that an error happened to."""
    reply = otherwise
    with contextlib.suppress(ValueError, IndexError, RecursionError):
        last = json.loads(lines[-1])
        if isinstance(last, dict) and isinstance(last.get("error", last.get("result")), dict):
            reply = last
    begun = [int(line) for line in lines if len(line) < _DIGITS and line.isdigit()]
    if "error" in reply and begun:
        reply["error"]["network"] = begun[-1]
    return reply


_DIGITS = 10
"""The number of a network has fewer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runtime", type=Path, required=True, help="folder of the slim runtime")
    bundle = parser.parse_args().runtime.absolute()
    replies = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not end up among the replies
    with contextlib.suppress(Refused):  # the child says it again, to the one who asked
        load_runtime(bundle)
    Server(bundle, replies).serve()


if __name__ == "__main__":
    main()
