"""What malformed input does to the farm: nothing but a refusal, it is hoped.

    python -m benchmarks.hostile --seed 0 [--messages 10000] [--files 1000] [--json]

`runner`, `supervisor`: lines that are no requests, or wrong ones, to the two programs that run on
a device, which have to answer each with one reply and to go on in the same process. `farm`: wrong
answers of a device to the farm, which has to end each in a recorded failure or in a measurement
that can be true, and never in a row that cannot. `cluster.yaml`, `cells`, `onnx`: files and texts
with mistakes, which are read or refused by name. `rows`: commands over a store in which one cell,
or some bytes of the file, are wrong, which have to leave out what they cannot read, or to refuse.

A row has what was `sent`, and how much of it was a crash (the peer died), a hang (no answer within
30 s), a traceback (an exception that is no error of the farm, or an answer that is no reply), or
stored though it cannot be. `first` shows some. Left out: `start` of the supervisor, which runs
what it is told to, and its `lease_s` below 5 s, after which it ends as it should.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.on_device.runner import ERROR_KINDS
from agents.pipes import RUNNER
from agents.runtime.bundle import host_bundle
from benchmarks import hostile_device, mutations
from benchmarks.report import finish
from farm.core.errors import FarmError

DEADLINE_S = 30.0
MEMORY_BYTES = 12 << 30
"""Of address space, for what is tried: whoever asks for more is refused it."""

_SUPERVISOR = RUNNER.with_name("supervisor.py")
_SHOWN = 5


@dataclass
class Tally:
    """What came of what was sent."""

    what: str
    sent: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)

    def add(self, kind: str, of: object) -> None:
        self.counts[kind] += 1
        if len(self.first) < _SHOWN:
            self.first.append(f"{kind}: {of!r:.300}")

    def row(self) -> dict[str, Any]:
        wrong = {kind: self.counts[kind] for kind in KINDS}
        return {"what": self.what, "sent": self.sent, **wrong, "first": self.first}


KINDS = ("crashes", "hangs", "tracebacks", "stored")


class Peer:
    """A program that answers lines, started again where it died."""

    def __init__(self, argv: Sequence[str], greeting: bool, home: Path) -> None:
        """greeting: whether it says a line when it starts. home: its home folder."""
        self._argv, self._greeting, self._home = argv, greeting, home
        self._process: subprocess.Popen[bytes] | None = None

    def answer(self, line: bytes) -> bytes:
        """Raises EOFError where it dies, TimeoutError where it is silent."""
        process = self._started()
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(line + b"\n")
            process.stdin.flush()
            return self._read_line(process)
        except BrokenPipeError as e:
            raise EOFError from e
        except (EOFError, TimeoutError):
            self.end()
            raise

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            environment = {**os.environ, "HOME": str(self._home)}
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
            resource.prlimit(self._process.pid, resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            if self._greeting:
                self._read_line(self._process)
        return self._process

    def _read_line(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout
        deadline_s, text = time.monotonic() + DEADLINE_S, b""
        while not text.endswith(b"\n"):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([process.stdout], [], [], left_s)[0]:
                raise TimeoutError
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                raise EOFError
            text += chunk
        return text

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                assert stream
                stream.close()
            self._process = None


def is_reply(line: bytes) -> bool:
    """Whether it is one line with a result or an error of a known kind."""
    try:
        reply = json.loads(line)
        if line.count(b"\n") != 1 or "id" not in reply:
            return False
        return "result" in reply or reply["error"]["kind"] in (*ERROR_KINDS, "busy")
    except (ValueError, TypeError, KeyError):
        return False


def ask(
    tally: Tally, peer: Peer, requests: Sequence[Mapping[str, Any]], rng: random.Random
) -> None:
    """Sends one wrong line."""
    line = mutations.line(dict(rng.choice(requests)), rng)
    if b'"lease_s"' in line and _short_lease(line):
        return
    tally.sent += 1
    try:
        answer = peer.answer(line)
    except EOFError:
        tally.add("crashes", line)
    except TimeoutError:
        tally.add("hangs", line)
    else:
        if not is_reply(answer):
            tally.add("tracebacks", (line[:100], answer))


def _short_lease(line: bytes) -> bool:
    try:
        lease_s = json.loads(line).get("lease_s")
        return isinstance(lease_s, (int, float)) and 0 <= lease_s < 5
    except (ValueError, AttributeError, RecursionError):
        return False


def on_runner(messages: int, rng: random.Random, folder: Path) -> Tally:
    """Wrong lines to a runner, right ones among them."""
    tally, requests = Tally("runner"), hostile_device.requests(folder)
    argv = [sys.executable, "-I", "-S", str(RUNNER), "--runtime", str(host_bundle())]
    peer = Peer(argv, greeting=False, home=folder)
    try:
        for _ in range(messages):
            ask(tally, peer, requests, rng)
        if b'"result"' not in peer.answer(json.dumps(requests[0]).encode()):
            tally.add("crashes", "a right request after all")
    finally:
        peer.end()
    return tally


def on_supervisor(messages: int, rng: random.Random, folder: Path) -> Tally:
    """Wrong lines to a supervisor."""
    digest = "0" * 64
    payload = {
        "name": f"{digest}.so",
        "size_bytes": 9,
        "offset": 0,
        "data": "eHh4",
        "room_bytes": 9,
    }
    owner = {"token": "1f", "name": "a@b"}
    limits = {"limit_bytes": 10**6, "lease_s": 3600, "patience_s": 0}
    requests: list[dict[str, Any]] = [
        {"id": 1, "op": "probe", "folder": "farm"},
        {"id": 2, "op": "hold", "folder": "farm", "owner": owner, **limits},
        {"id": 3, "op": "have", "name": f"{digest}.so", "size_bytes": 9},
        {"id": 4, "op": "put", **payload},
        {"id": 5, "op": "ping"},
        {"id": 6, "op": "session", "networks": []},
    ]
    tally = Tally("supervisor")
    home = folder / "home"
    home.mkdir(parents=True)
    argv = [sys.executable, "-I", "-S", str(_SUPERVISOR), "word"]
    peer = Peer(argv, greeting=True, home=home)
    try:
        for number in range(messages):
            if number % 500 == 250:
                peer.end()  # a right `hold` now and then, by a farm that comes back
                peer.answer(json.dumps(requests[1]).encode())
            ask(tally, peer, requests, rng)
    finally:
        peer.end()
    return tally


def on_farm(messages: int, rng: random.Random, folder: Path) -> Tally:
    """Wrong answers of a device."""
    tally = Tally("farm")
    with hostile_device.Farm(folder) as farm:
        for _ in range(messages):
            tally.sent += 1
            answers: list[bytes] = []
            try:
                with deadline():
                    for wrong in farm.measure(rng, answers):
                        tally.add("stored", (wrong, answers))
            except TimeoutError:
                tally.add("hangs", answers)
            except Exception as e:  # noqa: BLE001 - it is what is looked for
                tally.add("tracebacks", (e, answers))
        for wrong in farm.read_back():
            tally.add("stored", wrong)
    return tally


@contextmanager
def deadline() -> Iterator[None]:
    """Raises TimeoutError in a block that takes too long."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, DEADLINE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


Read = Callable[[bytes], object]


def on_reader(what: str, texts: Sequence[bytes], read: Read) -> Tally:
    """Texts to a function, in a process of its own, which is made anew where one ends it."""
    tally, pool = Tally(what), _Child(read)
    try:
        for text in texts:
            tally.sent += 1
            kind, said = pool.read(text)
            if kind:
                tally.add(kind, (said, text))
    finally:
        pool.end()
    return tally


class _Child:
    """A process that reads texts."""

    def __init__(self, read: Read) -> None:
        self._function = read
        self._process: multiprocessing.Process | None = None

    def read(self, text: bytes) -> tuple[str, str]:
        """What kind of harm it did, if any, and what was said."""
        if self._process is None:
            self._pipe, other = multiprocessing.Pipe()
            self._process = multiprocessing.Process(target=_serve, args=(self._function, other))
            self._process.start()
            other.close()
        try:
            self._pipe.send_bytes(text)
            if self._pipe.poll(DEADLINE_S):
                kind, said = self._pipe.recv()
                return str(kind), str(said)
        except (EOFError, OSError):
            self.end()
            return "crashes", ""
        self.end()
        return "hangs", ""

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


def _serve(read: Read, pipe: Any) -> None:
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for the rest of the process
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    while True:
        text = pipe.recv_bytes()
        try:
            read(text)
            pipe.send(("", ""))
        except FarmError:
            pipe.send(("", ""))
        except BaseException as e:  # noqa: BLE001 - it is what is looked for
            last = traceback.extract_tb(e.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            pipe.send(("tracebacks", f"{type(e).__name__} in {where}: {e!s:.300}"))


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    rows = tallies(options.messages, options.files, options.seed, options.only)
    summary = {kind: sum(row[kind] for row in rows) for kind in KINDS}
    finish("hostile", rows, {"sent": sum(row["sent"] for row in rows), **summary}, options.json)


def tallies(messages: int, files: int, seed: int, only: str | None = None) -> list[dict[str, Any]]:
    """A row for each thing that was tried."""
    from benchmarks import hostile_files, hostile_rows

    readers = {**hostile_files.READERS, "rows": hostile_rows.rows}
    tried: dict[str, Callable[[random.Random, Path], Tally]] = {
        "runner": lambda rng, folder: on_runner(messages, rng, folder),
        "supervisor": lambda rng, folder: on_supervisor(messages, rng, folder),
        "farm": lambda rng, folder: on_farm(messages, rng, folder),
        **{
            name: lambda rng, folder, name=name: on_reader(  # type: ignore[misc]
                name, *readers[name](files, rng, folder)
            )
            for name in readers
        },
    }
    rows = []
    for name, attempt in tried.items():
        if only in (None, name):
            with tempfile.TemporaryDirectory(prefix="farm-hostile-") as folder:
                rows.append(attempt(random.Random(f"{seed}/{name}"), Path(folder)).row())
            print(f"{name}: {rows[-1]}", file=sys.stderr, flush=True)
    return rows


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.hostile", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--messages", type=int, default=10_000, help="to each peer (10000)")
    parser.add_argument(
        "--files", type=int, default=1000, help="files and texts of each kind (1000)"
    )
    parser.add_argument("--only", help="one of the rows")
    parser.add_argument("--seed", type=int, default=0, help="draws the mistakes (0)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
