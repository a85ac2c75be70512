"""Keeps a device for the farm: its folder, its lock and its runner. Runs on the device, alone.

Needs Linux and Python 3.9. The farm sends this text to `python3 -c` over SSH, so that a device that
turns out to be unfit has nothing written on it. It begins with a line, `supervisor` and a word that
the farm chose (what comes before is the login shell's), and then answers as
`agents/on_device/runner.py` does, with JSON objects, one a line:

    {"id": 1, "op": "probe", "folder": ".latency-farm"}
    {"id": 2, "op": "hold", "folder": ".latency-farm", "owner": {"token": "1f", "name": "a@b"},
     "limit_bytes": 1000000, "lease_s": 60, "patience_s": 5}
    {"id": 3, "op": "have", "name": "SHA-256.so", "size_bytes": 9}
    {"id": 4, "op": "put", "name": "SHA-256.so", "size_bytes": 9, "offset": 0, "data": "base64",
     "room_bytes": 9}
    {"id": 5, "op": "start", "runner": PATH, "runtime": PATH}
    {"id": 6, "op": "ping"}
    {"id": 7, "op": "purge"}

A line that is no request is answered with an error. Every other request goes to the runner, once
it is started. `hold` takes the folder's lock, which
the runner inherits: the folder is free only when both are gone. All that is sent stays in
FOLDER/content under its digest until its room is needed; a name that ends in `.zip` is unpacked.
The supervisor ends, and ends the runner, when its stdin ends, when the runner does, and when it
hears nothing for `lease_s`, by the device's own clock.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import re
import selectors
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

Json = dict[str, Any]

_LONGEST_BYTES = 1 << 26
"""Of a request; a piece of a payload has 64 kB."""

_LONGEST_S = 86400.0
"""Of a lease, and of patience."""

_NAME = re.compile(r"[0-9a-f]{64}\.(so|zip)")
"""Of a payload: its digest, and what it is."""


class Refused(Exception):
    """A request that ends in an error reply of this kind: bad_request, busy or unfit."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.reply: Json = {"error": {"kind": kind, "message": message}}


def probe(folder: Path) -> Json:
    """What decides whether the device can be used, and by what. Writes nothing."""
    parts = [folder, *folder.parents]
    disk = os.statvfs(next(path for path in parts if path.exists()))
    return {
        "uname": list(os.uname()),
        "python": sys.version.split()[0],
        "pointer_bits": 8 * struct.calcsize("P"),
        "clock_s": time.time(),
        "folder": str(folder),
        "folder_is_there": folder.exists(),
        "noexec": bool(disk.f_flag & os.ST_NOEXEC),
        "free_bytes": disk.f_bavail * disk.f_frsize,
    }


class Folder:
    """What the farm keeps on the device, under a lock."""

    def __init__(self, path: Path, owner: Json, limit_bytes: int) -> None:
        """Makes the folder unless it is there. Raises `Refused` for one of somebody else."""
        lock = path / "lock"
        if path.exists() and not lock.exists() and any(path.iterdir()):
            problem = f"{path} holds files that are not the farm's; give the device another folder"
            raise Refused("unfit", problem)
        path.mkdir(mode=0o700, exist_ok=True)
        self.path = path
        self._owner = owner
        self._limit_bytes = limit_bytes
        self._used: set[str] = set()
        self.lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)

    def take(self, patience_s: float) -> None:
        """Takes the lock, from a lost connection of the same owner by force."""
        deadline_s = time.monotonic() + patience_s
        while not self._locked():
            holder = self._holder()
            if holder.get("token") == self._owner["token"]:
                _kill(holder)
            elif time.monotonic() > deadline_s:
                since, name = holder.get("since", "?"), holder.get("name", "another farm")
                raise Refused("busy", f"{self.path} is in use by {name} since {since} UTC")
            time.sleep(0.1)
        (self.path / "content").mkdir(exist_ok=True)
        (self.path / "parts").mkdir(exist_ok=True)

    def sign(self, runner: int | None) -> None:
        """Writes into the lock who holds it; runner: its process, which ends with the holder's."""
        since = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
        processes = {"supervisor": os.getpid(), "runner": runner}
        text = json.dumps({**self._owner, "since": since, **processes})
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, text.encode(), 0)

    def _locked(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    def _holder(self) -> Json:
        with contextlib.suppress(ValueError, TypeError):
            return dict(json.loads(os.pread(self.lock, 4096, 0)))
        return {}

    def have(self, name: str, size_bytes: int) -> Json:
        """`path` where it is complete, else how many `bytes` of it have arrived."""
        path, part = self._path(name), self._part(name)
        with contextlib.suppress(FileNotFoundError):
            if path.is_dir() or _is_whole(path, size_bytes, name):
                os.utime(path)
                self._used.add(path.name)
                return {"path": str(path)}
        return {"bytes": part.stat().st_size if part.exists() else 0}

    def put(self, request: Json) -> Json:
        """Appends to what has arrived; the last piece completes it. As `have`."""
        part, data = self._part(request["name"]), base64.b64decode(request["data"])
        _must_be_number("offset", request["offset"], 1 << 50)
        _must_be_number("room_bytes", request["room_bytes"], 1 << 60)
        if not request["offset"]:
            self._make_room(request["room_bytes"])
        try:
            with part.open("ab" if request["offset"] else "wb") as file:
                if file.tell() != request["offset"]:
                    raise Refused("bad_request", f"{part} has {file.tell()} bytes")
                file.write(data)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        if request["offset"] + len(data) == request["size_bytes"]:
            self._complete(request["name"])
        return self.have(request["name"], request["size_bytes"])

    def purge(self) -> None:
        """Deletes the whole folder."""
        shutil.rmtree(self.path)

    def _path(self, name: str) -> Path:
        return self.path / "content" / _checked(name).replace(".zip", "")

    def _part(self, name: str) -> Path:
        return self.path / "parts" / _checked(name)

    def _complete(self, name: str) -> None:
        path, part = self._path(name), self._part(name)
        if hashlib.sha256(part.read_bytes()).hexdigest() != Path(name).stem:
            part.unlink()
            raise Refused("bad_request", f"{name} did not arrive as it was sent")
        try:
            _move(part, path, zipped=name.endswith(".zip"))
        finally:
            part.unlink(missing_ok=True)

    def _make_room(self, size_bytes: int) -> None:
        """Deletes what was not used for the longest time, within the limit and the disk's."""
        found = sorted((self.path / "content").iterdir(), key=lambda path: path.stat().st_mtime)
        sizes_bytes = {path: _size_bytes(path) for path in found}
        for path in found:
            total_bytes = sum(sizes_bytes.values()) + size_bytes
            if total_bytes <= self._limit_bytes and _free_bytes(self.path) >= size_bytes:
                return
            if path.name not in self._used:
                _delete(path)
                del sizes_bytes[path]
        if _free_bytes(self.path) < size_bytes:
            free = f"{_free_bytes(self.path) / 1e6:.1f} MB are free"
            todo = "free some, or name a folder on another disk with `folder:`"
            raise Refused("unfit", f"{self.path} needs {size_bytes / 1e6:.1f} MB, {free}; {todo}")


def _checked(name: str) -> str:
    """Of a payload: no path leads out of the folder."""
    if not _NAME.fullmatch(name):
        raise Refused("bad_request", f"a payload is named SHA-256.so or .zip, got {name[:80]!r}")
    return name


def _is_whole(path: Path, size_bytes: int, name: str) -> bool:
    """Whether a file is as it was sent: a card forgets, and a power cut takes the end."""
    if path.stat().st_size != size_bytes:
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == name.partition(".")[0]


def _must_be_number(name: str, value: Any, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise Refused("bad_request", f"`{name}` must be from 0 to {most:g}, got {value!r:.80}")


def _move(part: Path, path: Path, zipped: bool) -> None:
    """After a power cut, what has its final name is complete."""
    if not zipped:
        part.replace(path)
        return
    with tempfile.TemporaryDirectory(dir=part.parent) as text:
        fresh = Path(text) / "unpacked"
        with zipfile.ZipFile(part) as archive:
            archive.extractall(fresh)
        os.sync()
        fresh.rename(path)


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _size_bytes(path: Path) -> int:
    return sum(p.stat().st_size for p in [path, *path.rglob("*")] if p.is_file())


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _kill(holder: Json) -> None:
    """Ends a supervisor and its runner; they hold the lock, so the numbers are theirs."""
    for key, kill in (("runner", os.killpg), ("supervisor", os.kill)):
        with contextlib.suppress(OSError, KeyError, TypeError, OverflowError):
            if holder[key] > 1:
                kill(holder[key], signal.SIGKILL)


_NO_REQUEST = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a line raises that is none, or that lacks what its `op` needs."""


class Server:
    """Answers the farm, and passes on what is said between it and the runner."""

    def __init__(self) -> None:
        self._folder: Folder | None = None
        self._runner: subprocess.Popen[bytes] | None = None
        self._lease_s: float | None = None
        self._heard_s = time.monotonic()
        self._unread, self._unsent = bytearray(), b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(0, selectors.EVENT_READ, self._receive)

    def serve(self) -> None:
        """Returns when the farm is gone; ends the process where the farm or the runner is lost."""
        try:
            while True:
                for key, _ in self._selector.select(self._lease_s):
                    key.data()
                silent_s = time.monotonic() - self._heard_s
                if self._lease_s is not None and silent_s > self._lease_s:
                    sys.exit(f"nothing was heard of the farm for {self._lease_s:g} s")
        except (EOFError, BrokenPipeError):
            return
        finally:
            self._end_runner()

    def _receive(self) -> None:
        chunk = os.read(0, 1 << 16)
        if not chunk:
            raise EOFError
        self._heard_s = time.monotonic()
        first, *rest = chunk.split(b"\n")
        self._unread += first
        for part in rest:
            line, self._unread = bytes(self._unread), bytearray(part)
            self._answer(line)
        if len(self._unread) > _LONGEST_BYTES:
            sys.exit(f"a request has more than {_LONGEST_BYTES} bytes")

    def _answer(self, line: bytes) -> None:
        number: Any = None
        try:
            request = json.loads(line)
            number = request["id"]
            if type(number) is not int:
                raise ValueError("a request's `id` is an integer")
            operation = getattr(self, f"do_{request['op']}", None)
            if operation is None:
                self._pass_on(line, request)
                return
            reply = {"result": operation(request)}
        except Refused as e:
            reply = e.reply
        except OSError as e:
            where = e.filename or (self._folder.path if self._folder else "the device")
            reply = Refused("unfit", f"{e.strerror}: {where}").reply
        except _NO_REQUEST as e:
            words = " ".join(f"{type(e).__name__}: {e}".split())[:500]
            reply = Refused("bad_request", f"no request: {words}").reply
        numbered = number if type(number) is int else None
        _write(json.dumps({"id": numbered, **reply}).encode() + b"\n")

    def _pass_on(self, line: bytes, request: Json) -> None:
        if self._runner is None or self._runner.stdin is None:
            raise Refused("bad_request", f"there is no runner for {request['op']!r:.80}")
        with contextlib.suppress(BrokenPipeError):  # its stdout says how it ended
            self._runner.stdin.write(line + b"\n")
            self._runner.stdin.flush()

    def _relay(self) -> None:
        """The runner's whole lines, so that none of ours comes between."""
        assert self._runner is not None
        assert self._runner.stdout is not None
        chunk = os.read(self._runner.stdout.fileno(), 1 << 16)
        if not chunk:
            sys.exit(f"the runner ended with {self._runner.wait()}")
        whole, newline, self._unsent = (self._unsent + chunk).rpartition(b"\n")
        _write(whole + newline)

    def _end_runner(self) -> None:
        if self._runner is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._runner.pid, signal.SIGKILL)
            self._runner.wait()

    def _held(self) -> Folder:
        if self._folder is None:
            raise Refused("bad_request", "`hold` must come first")
        return self._folder

    def do_ping(self, request: Json) -> Json:  # noqa: ARG002
        return {}

    def do_probe(self, request: Json) -> Json:
        return probe(_absolute(request["folder"]))

    def do_hold(self, request: Json) -> Json:
        for name in ("lease_s", "patience_s"):
            _must_be_number(name, request[name], _LONGEST_S)
        _must_be_number("limit_bytes", request["limit_bytes"], 1 << 60)
        if self._folder is not None:
            raise Refused("bad_request", f"{self._folder.path} is held already")
        folder = Folder(_absolute(request["folder"]), request["owner"], request["limit_bytes"])
        folder.take(request["patience_s"])
        folder.sign(None)
        self._folder, self._lease_s = folder, request["lease_s"]
        return {}

    def do_have(self, request: Json) -> Json:
        return self._held().have(request["name"], request["size_bytes"])

    def do_put(self, request: Json) -> Json:
        return self._held().put(request)

    def do_start(self, request: Json) -> Json:
        folder = self._held()
        if self._runner is not None:
            raise Refused("bad_request", "the runner is started already")
        argv = [sys.executable, "-I", "-S", request["runner"], "--runtime", request["runtime"]]
        pipe, lock = subprocess.PIPE, (folder.lock,)
        self._runner = subprocess.Popen(
            argv, stdin=pipe, stdout=pipe, pass_fds=lock, start_new_session=True
        )
        assert self._runner.stdout is not None
        folder.sign(self._runner.pid)
        self._selector.register(self._runner.stdout, selectors.EVENT_READ, self._relay)
        return {}

    def do_purge(self, request: Json) -> Json:  # noqa: ARG002
        self._end_runner()
        self._held().purge()
        return {}


def _absolute(folder: str) -> Path:
    return Path.home() / Path(folder).expanduser()


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def main() -> None:
    _write(f"supervisor {sys.argv[1]}\n".encode())
    Server().serve()


if __name__ == "__main__":
    main()
