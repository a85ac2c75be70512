"""Runs compiled networks on a device: `python -I -S runner.py --runtime BUNDLE`.

Needs Linux, Python 3.9 and the slim runtime (`agents/bundle.py`), nothing else of the farm, so
that this file alone can be sent to a device. It is a fork server: the parent maps the runtime but
never starts a thread or loads a network, and a forked child does the work of each request. A
network that crashes or hangs takes nothing but its child with it.

Requests and replies are JSON objects, one a line, on stdin and stdout. `program` and `spec` are
those of `farm.types`, `read` names files whose text is wanted, `kind` is one of `ERROR_KINDS`;
a request that names no `timeout_s` has 60 s:

    {"id": 1, "op": "facts", "read": ["/proc/cpuinfo"]}
    {"id": 2, "op": "run", "library": "a.so", "program": {...}, "threads": 1, "cores": [1],
     "seed": 0, "timeout_s": 60}
    {"id": 3, "op": "measure", "spec": {...}, "read": ["/proc/stat"], ... and the keys of run}

    {"id": 1, "result": {...}}
    {"id": 2, "error": {"kind": "crash", "message": "the network died of SIGSEGV"}}

The runner ends when its stdin ends, or when the process that started it does.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import json
import math
import os
import resource
import selectors
import signal
import struct
import sys
import time
from array import array
from pathlib import Path
from typing import Any, NoReturn

ERROR_KINDS = ("artifact", "bad_request", "crash", "timeout", "unfit", "wrong_output")

Json = dict[str, Any]


class Refused(Exception):
    """A request that ends in an error reply of this kind (one of `ERROR_KINDS`)."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.reply: Json = {"error": {"kind": kind, "message": message}}


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


_BLOCK = 8191
"""Values before the sequence repeats: a prime, so that no two rows of a tensor are alike."""

_BOUNDS = (2.0**-100, 2.0**100)
"""Bounds whose smallest value is still a normal float32, and whose largest is finite."""


def seeded_values(seed: int, index: int, count: int, bound: float) -> array[float]:
    """Argument number `index` of a network: (count,) float32 in (-bound, bound), never zero.

    The same on every host and Python: SHAKE-256 of (seed, index) gives 16-bit integers h, and
    (2 h + 1 - 2^16) / 2^16 is a uniform grid without a zero. Raises ValueError for a bound whose
    values would be denormal or infinite.
    """
    if not _BOUNDS[0] <= bound <= _BOUNDS[1]:
        raise ValueError(f"`bound` must lie in [2^-100, 2^100], got {bound!r}")
    block = min(count, _BLOCK)
    random_bytes = hashlib.shake_256(f"{seed}/{index}".encode()).digest(2 * block)
    grid = struct.unpack(f"<{block}H", random_bytes)
    values = array("f", [(2 * h - 65535) / 65536 * bound for h in grid])
    return (values * (count // block + 1))[:count] if count > block else values


def load_runtime(bundle: Path) -> None:
    """Maps the runtime into this process, which starts no thread; again is no work."""
    try:
        sys.path.insert(0, str(bundle))
        import tvm_ffi  # noqa: F401 - the runtime library needs its symbols

        ctypes.CDLL(str(bundle / "lib/libtvm_runtime.so"), ctypes.RTLD_GLOBAL)
    except (OSError, ImportError) as e:
        raise Refused("unfit", f"no runtime in {bundle} loads: {_one_line(e)}") from e


_CPU, _POOLED = 1, 2
"""Device type and kind of allocator, as Relax's virtual machine numbers them."""


class LoadedNetwork:
    """A network that is loaded, with its arguments filled."""

    def __init__(self, library: str, program: Json, seed: int) -> None:
        """Raises `Refused` where `library` is not one that this device can load."""
        import tvm_ffi

        self._ffi = tvm_ffi
        self._entry = program["entry"]
        try:
            self._vm = tvm_ffi.load_module(library)["vm_load_executable"]()
            self._vm["vm_initialization"](_CPU, 0, _POOLED)
        except (RuntimeError, AttributeError) as e:
            raise Refused("artifact", f"{library} does not load: {_one_line(e)}") from e
        inputs = enumerate(program["inputs"])
        self._arguments = [self._filled(spec, seed, index) for index, spec in inputs]
        self._vm["save_function"](self._entry, "timed", True, *self._arguments)

    def _filled(self, spec: Json, seed: int, index: int) -> Any:
        values = seeded_values(seed, index, math.prod(spec["shape"]), spec["bound"])
        shape, dtype = self._ffi.Shape(spec["shape"]), self._ffi.dtype(spec["dtype"])
        allocate = self._ffi.get_global_func("runtime.TVMTensorAllocWithScope")
        tensor = allocate(shape, dtype, self._ffi.device("cpu", 0), None)
        self._copy("runtime.TVMTensorCopyFromBytes", tensor, values)
        return tensor

    def _copy(self, function: str, tensor: Any, values: array[float]) -> None:
        address = ctypes.c_void_p(values.buffer_info()[0])
        self._ffi.get_global_func(function)(tensor, address, 4 * len(values))

    def output(self) -> array[float]:
        """Runs once; the flattened output, float32."""
        tensor = self._vm[self._entry](*self._arguments)
        values = array("f", bytes(4 * tensor.numel()))
        self._copy("runtime.TVMTensorCopyToBytes", tensor, values)
        return values

    def sample(self, runs: int, count: int) -> list[float]:
        """(count,) seconds per run, each over `runs` runs timed in C++; one run comes before."""
        evaluator = self._ffi.get_global_func("runtime.RPCTimeEvaluator")
        as_they_come = (0, 100, 0, 1, 0, "")
        blob = bytes(evaluator(self._vm, "timed", _CPU, 0, runs, count, *as_they_come)())
        return list(struct.unpack(f"@{count}d", blob))


def _prepare_threads(threads: int, cores: list[int]) -> None:
    """Must come before TVM's pool starts, which would bind itself over the caller's cores."""
    os.environ["TVM_BIND_THREADS"] = "0"
    os.environ["TVM_NUM_THREADS"] = str(threads)
    with contextlib.suppress(OSError):  # where none of them is there; what is given says it
        os.sched_setaffinity(0, cores or os.sched_getaffinity(0))
    given = sorted(os.sched_getaffinity(0))
    if cores and given != sorted(cores):
        raise Refused("unfit", f"asked for the cores {sorted(cores)}, this host gives {given}")


def _bind_threads(threads: int, cores: list[int]) -> list[list[int]]:
    """Once the pool runs: a core for each thread, if there are as many; all affinities."""
    ids = sorted(int(path.name) for path in Path("/proc/self/task").iterdir())
    if threads == len(cores):
        for thread, core in zip(ids, cores):
            os.sched_setaffinity(thread, {core})
    return [sorted(os.sched_getaffinity(thread)) for thread in ids]


def check_output(output: array[float], program: Json, seed: int) -> float | None:
    """The largest deviation from the expected output; None where `seed` is not the program's.

    Raises `Refused` for the output of another network, and for NaN and infinity.
    """
    if not all(map(math.isfinite, output)):
        raise Refused("wrong_output", "the output holds NaN or infinity")
    if seed != program["seed"]:
        return None
    if len(output) < len(program["expected"]):
        raise Refused("wrong_output", f"the output has only {len(output)} values")
    allowed: float = program["tolerance"]
    deviation = max((abs(a - b) for a, b in zip(output, program["expected"])), default=0.0)
    if deviation > allowed:
        raise Refused("wrong_output", f"the output is off by {deviation:g}, allowed is {allowed:g}")
    return deviation


def _warm_up(network: LoadedNetwork, spec: Json) -> tuple[list[float], int]:
    """All warm-up samples, and how many runs it takes until a sample lasts `sample_s`."""
    samples_s: list[float] = []
    runs, needed, spent_s = 0, 1, 0.0
    while runs < needed or spent_s < spec["warmup_s"]:
        runs = needed
        samples_s += network.sample(runs, 1)
        spent_s += samples_s[-1] * runs
        needed = max(runs, math.ceil(spec["sample_s"] / max(min(samples_s), 1e-9)))
    return samples_s, runs


def _rounds(network: LoadedNetwork, spec: Json, runs: int, run_s: float) -> list[list[float]]:
    """(rounds, samples) seconds per run; `run_s` is about how long a run takes."""
    count = max(spec["min_samples"], math.ceil(spec["round_s"] / (runs * run_s)))
    rounds_s = []
    for index in range(spec["rounds"]):
        time.sleep(spec["pause_s"] if index else 0)
        rounds_s.append(network.sample(runs, count))
    return rounds_s


def read_files(patterns: list[str]) -> dict[str, str]:
    """The text of every file that an absolute pattern matches; the unreadable are left out."""
    texts = {}
    for path in [path for pattern in patterns for path in Path("/").glob(pattern[1:])]:
        with contextlib.suppress(OSError):
            texts[str(path)] = path.read_text(errors="replace").strip("\0\n ")
    return texts


def _readings(request: Json) -> Json:
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    return {"involuntary_switches": switches, "files": read_files(request.get("read", []))}


def facts(request: Json, bundle: Path) -> Json:
    """The host as it is; what its files mean is for the farm to find out."""
    load_runtime(bundle)
    return {
        "uname": list(os.uname()),
        "python": sys.version.split()[0],
        "affinity": sorted(os.sched_getaffinity(0)),
        "files": read_files(request.get("read", [])),
    }


def _loaded(request: Json, bundle: Path) -> tuple[LoadedNetwork, float]:
    started_s = time.monotonic()
    load_runtime(bundle)
    _prepare_threads(request["threads"], request["cores"])
    network = LoadedNetwork(request["library"], request["program"], request["seed"])
    return network, time.monotonic() - started_s


def run(request: Json, bundle: Path) -> Json:
    """Loads and runs once; `output` is the first 16 values of the flattened output."""
    network, load_s = _loaded(request, bundle)
    return {"output": list(network.output()[:16]), "load_s": load_s}


def measure(request: Json, bundle: Path) -> Json:
    """Loads, checks the output, warms up and takes all rounds of samples."""
    spec = request["spec"]
    network, load_s = _loaded(request, bundle)
    output = network.output()
    deviation = check_output(output, request["program"], request["seed"])
    affinity = _bind_threads(request["threads"], request["cores"])
    warmup_s, runs = _warm_up(network, spec)
    before = _readings(request)
    rounds_s = _rounds(network, spec, runs, max(min(warmup_s), 1e-9))
    return {
        "samples_s": rounds_s,
        "runs_per_sample": runs,
        "warmup_s": warmup_s,
        "before": before,
        "after": _readings(request),
        "output": list(output[:16]),
        "deviation": deviation,
        "affinity": affinity,
        "load_s": load_s,
    }


OPERATIONS = {"facts": facts, "run": run, "measure": measure}


def _detach(parent: int) -> None:
    """Makes a forked child a group of its own that reads nothing and never outlives `parent`."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _work(request: Json, bundle: Path, parent: int, result: int) -> NoReturn:
    """The whole life of a child: it writes one reply to the descriptor `result`."""
    try:
        _detach(parent)
        reply = {"result": OPERATIONS[request["op"]](request, bundle)}
    except Refused as e:
        reply = e.reply
    except (KeyError, TypeError, ValueError) as e:
        reply = Refused("bad_request", f"the request does not fit: {_one_line(e)}").reply
    except BaseException as e:  # noqa: BLE001 - whatever a network raises is its own end
        reply = Refused("crash", f"the network raised {_one_line(e)}").reply
    try:
        with open(result, "w") as pipe:
            json.dump(reply, pipe)
    finally:
        os._exit(0)


def _end(child: int) -> str:
    """Kills what is left of a child and of what it started; how it ended, in words."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return f"died of {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended its process with status {os.WEXITSTATUS(status)}"


class Server:
    """Answers requests, one after the other, until nobody is left to answer to."""

    def __init__(self, bundle: Path, replies: int) -> None:
        """replies: the descriptor that replies are written to."""
        self._bundle = bundle
        self._replies = os.fdopen(replies, "w", buffering=1)
        self._unread = b""
        self._selector = selectors.PollSelector()
        self._selector.register(0, selectors.EVENT_READ, "requests")
        # Before Linux 5.3 the end of stdin has to do.
        with contextlib.suppress(AttributeError, OSError):
            self._selector.register(os.pidfd_open(os.getppid()), selectors.EVENT_READ, "farm")

    def serve(self) -> None:
        with contextlib.suppress(EOFError, BrokenPipeError):
            while True:
                while b"\n" not in self._unread:
                    self._wait(None)
                line, _, self._unread = self._unread.partition(b"\n")
                self._replies.write(json.dumps(self._answer(line)) + "\n")

    def _wait(self, timeout_s: float | None) -> bool:
        """Whether the child has something to say; requests that come meanwhile are kept."""
        ready = {key.data for key, _ in self._selector.select(timeout_s)}
        if "requests" in ready:
            data = os.read(0, 1 << 16)
            self._unread += data
            ready |= set() if data else {"farm"}
        if "farm" in ready:
            raise EOFError("nobody is left to answer to")
        return "child" in ready

    def _answer(self, line: bytes) -> Json:
        number = None
        try:
            request = json.loads(line)
            number = request["id"]
            timeout_s = float(request.get("timeout_s", 60))
            return {"id": number, **self._in_child(request, timeout_s)}
        except Refused as e:
            return {"id": number, **e.reply}
        except (KeyError, TypeError, ValueError) as e:
            problem = Refused("bad_request", f"this is no request: {_one_line(e)}")
            return {"id": number, **problem.reply}

    def _in_child(self, request: Json, timeout_s: float) -> Json:
        result, child_result = os.pipe()
        parent, child = os.getpid(), os.fork()
        if child == 0:
            self._replies.close()
            _work(request, self._bundle, parent, child_result)
        os.close(child_result)
        with contextlib.suppress(OSError):  # whoever comes first, the group is there to be killed
            os.setpgid(child, child)
        self._selector.register(result, selectors.EVENT_READ, "child")
        try:
            text = self._collect(result, timeout_s)
        finally:
            ending = _end(child)
            self._selector.unregister(result)
            os.close(result)
        try:
            return dict(json.loads(text))
        except ValueError:
            raise Refused("crash", f"the network {ending}") from None

    def _collect(self, result: int, timeout_s: float) -> bytes:
        """All that a child writes to the descriptor `result` in `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        text, chunk = b"", b"-"
        while chunk:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise Refused("timeout", f"no result within {timeout_s:g} s")
            if self._wait(left_s):
                chunk = os.read(result, 1 << 16)
                text += chunk
        return text


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
