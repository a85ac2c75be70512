"""Does the farm measure a GPU right? Runs alone on a GPU machine, from a folder packed elsewhere.

    python -m benchmarks.gpu_pack DIR [--arch sm_90a]     # here; needs nvcc and no GPU
    python3 DIR/gpu_check.py [--json FILE] [--index 0]    # there; needs no package at all

The machine needs an NVIDIA driver for CUDA 13 and Python 3.9 or later, no CUDA toolkit and no
network. Each network is measured by the farm's own runner, in sessions of fresh processes, and

- its output must be what onnxruntime computed where it was packed;
- its latency must repeat between sessions;
- device events must agree with the host's clock around many runs;
- a CUDA graph of the same kernels must compute the same.

Exit codes: 0 all agree, 1 something does not, 2 usage, 3 there is no GPU to check.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import platform
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

Json = dict[str, Any]

HERE = Path(__file__).resolve().parent

SESSIONS = 3
BATCH = 5
"""Networks in a session."""

SPEC = {
    "rounds": 4,
    "block_s": 0.05,
    "min_samples": 5,
    "sample_s": 1e-3,
    "warmup_s": 0.5,
    "pause_s": 0.0,
    "flush_bytes": 0,
}
TIMEOUT_S = 60.0
"""For what a network does at a stretch."""

REPEATS = 0.02
"""How far apart a network's sessions may be, relatively: median over networks."""

AGREES = 0.05
"""The same for device events and the host's clock."""

RUNS = 200
"""Of a network, between two looks at the host's clock."""

NO_GPU = 3


class Failed(Exception):
    """A step that did not come about. kind: as in `agents.on_device.runner.ERROR_KINDS`, or
    `lost`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


def asked(argv: Sequence[str], request: Json, timeout_s: float) -> Json:
    """The result that a fresh process answers a request with. Raises Failed."""
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps({"id": 1, **request}).encode() + b"\n")
            process.stdin.flush()
            reply = json.loads(_line(process.stdout, time.monotonic() + timeout_s))
        except (OSError, ValueError) as e:
            raise Failed("lost", f"no answer from {argv[-1]}: {e}") from e
        finally:
            process.kill()
    if "error" in reply:
        raise Failed(reply["error"]["kind"], reply["error"]["message"])
    return dict(reply["result"])


def _line(stream: Any, deadline_s: float) -> bytes:
    text = b""
    while not text.endswith(b"\n"):
        left_s = deadline_s - time.monotonic()
        if left_s <= 0 or not select.select([stream], [], [], left_s)[0]:
            raise OSError("out of time")
        chunk = stream.read1(1 << 16)
        if not chunk:
            raise OSError("the process ended")
        text += chunk
    return text


class Gpu:
    """What can be asked of a GPU, each time in a fresh process."""

    def __init__(self, index: int) -> None:
        """index: in CUDA's order."""
        self._common = {"gpu": index, "threads": 1, "cores": [], "seed": 0, "timeout_s": TIMEOUT_S}

    def facts(self) -> Json:
        """Raises Failed, with the kind `unfit` where there is no GPU."""
        return self._runner({"op": "facts", "read": ["/proc/cpuinfo"]}, 1)

    def session(self, networks: Sequence[Json], number: int, flush_bytes: int = 0) -> list[Json]:
        """What the farm's runner says of each network, timed in one session. Raises Failed."""
        spec = {**SPEC, "flush_bytes": flush_bytes}
        request = {"op": "session", "networks": _located(networks), "order": number, "spec": spec}
        return list(self._runner(request, len(networks))["networks"])

    def other_clocks(self, network: Json) -> Json:
        """See the function of this name. Raises Failed."""
        argv = [sys.executable, "-I", "-S", str(HERE / "gpu_check.py"), "--step"]
        return asked(argv, {**self._common, **_located([network])[0]}, 2 * TIMEOUT_S)

    def _runner(self, request: Json, networks: int) -> Json:
        runner = [sys.executable, "-I", "-S", str(HERE / "runner.py")]
        argv = [*runner, "--runtime", str(HERE / "runtime")]
        return asked(argv, {**self._common, **request}, TIMEOUT_S * networks + 30)


def _located(networks: Sequence[Json]) -> list[Json]:
    return [{**network, "library": str(HERE / network["library"])} for network in networks]


def check(gpu: Gpu, networks: Sequence[Json], l2_bytes: int) -> list[Json]:
    """A row for each network; what went wrong with it is in its `errors`."""
    rows = [{"network": n["network"], "latencies_s": [], "errors": []} for n in networks]
    for number in range(SESSIONS):
        for start in range(0, len(networks), BATCH):
            batch = slice(start, start + BATCH)
            _into(rows[batch], gpu, networks[batch], number, 0)
    for start in range(0, len(networks), BATCH):
        batch = slice(start, start + BATCH)
        _into(rows[batch], gpu, networks[batch], 0, 2 * l2_bytes)
    for row, network in zip(rows, networks):
        try:
            row.update(gpu.other_clocks(network))
        except Failed as e:
            row["errors"].append(f"other clocks: {e}")
    return rows


def _into(
    rows: Sequence[Json], gpu: Gpu, networks: Sequence[Json], number: int, flush_bytes: int
) -> None:
    """Puts the results of a session into rows; after a failure each network has its own."""
    try:
        results = gpu.session(networks, number, flush_bytes)
    except Failed as e:
        if len(networks) == 1:
            rows[0]["errors"].append(f"session {number}: {e}")
            return
        for row, network in zip(rows, networks):
            _into([row], gpu, [network], number, flush_bytes)
        return
    for row, result in zip(rows, results):
        latency_s = session_latency_s(result)
        if flush_bytes:
            row["cold_s"] = latency_s
        else:
            row["latencies_s"].append(latency_s)
            row["deviation"] = result["deviation"]
            row["telemetry"] = result["blocks"][-1]["after"].get("gpu", {})


def session_latency_s(result: Json) -> float:
    """As the farm says it, see `farm.measurement.estimator.level`, by a session alone."""
    ordered = sorted(_lower_quartile(block["samples_s"]) for block in result["blocks"])
    quarter = len(ordered) / 4
    shares = [min(1.0, quarter - i) for i in range(math.ceil(quarter))]
    return sum(s * x for s, x in zip(shares, ordered)) / quarter


def _lower_quartile(samples_s: Sequence[float]) -> float:
    if len(samples_s) == 1:
        return samples_s[0]
    return statistics.quantiles(samples_s, n=4, method="inclusive")[0]


def summary(rows: Sequence[Json]) -> Json:
    """What the rows come to. A figure that cannot be said is None."""
    whole = [row for row in rows if row["latencies_s"]]
    spreads = [max(r["latencies_s"]) / min(r["latencies_s"]) - 1 for r in whole]
    walls = [abs(row["wall_s"] / row["event_s"] - 1) for row in rows if "wall_s" in row]
    graphs = [row for row in rows if "graph_s" in row]
    found = {
        "networks": len(rows),
        "measured": len(whole),
        "outputs_agree": sum(row.get("deviation") is not None for row in rows),
        "repeatability": _median(spreads),
        "wall_difference": _median(walls),
        "graphs": len(graphs),
        "graph_outputs_agree": sum(row["graph_agrees"] for row in graphs),
        "graph_ratio": _median([row["graph_s"] / row["event_s"] for row in graphs]),
        "cold_ratio": _median([r["cold_s"] / r["latencies_s"][0] for r in whole if "cold_s" in r]),
        "errors": sum(bool(row["errors"]) for row in rows),
    }
    return {**found, "passed": _passed(found)}


def _passed(found: Json) -> bool:
    every = ("measured", "outputs_agree", "graphs", "graph_outputs_agree")
    return (
        all(found[name] == found["networks"] for name in every)
        and found["repeatability"] <= REPEATS
        and found["wall_difference"] <= AGREES
    )


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


# One network by other clocks than the runner's. Everything below runs in a child process.


def other_clocks(request: Json) -> Json:
    """Seconds for a run of a network: event_s by TVM's timer on the device, wall_s by the host's
    clock, both over `RUNS` runs in a row; graph_s for a CUDA graph of the same kernels, and
    whether that computes the same (graph_agrees)."""
    import loading
    import timing

    timing.prepare(request, HERE / "runtime")
    network, stream = loading.loaded(request, request), Stream(request["gpu"])
    computed = network.start()
    stream.synchronise()  # reading waits for the default stream alone
    expected = network.values(computed)
    clocks = {"event_s": min(network.sample(RUNS, 5)), "wall_s": stream.wall_s(network.start)}
    try:
        launch, output = captured(network, stream)
    except OSError as e:
        return {**clocks, "errors": [f"graph: {e}"]}
    graph_s = stream.wall_s(launch)
    return {**clocks, "graph_s": graph_s, "graph_agrees": network.values(output) == expected}


class Stream:
    """A stream of its own, on which this process's work is done from now on."""

    def __init__(self, index: int) -> None:
        import tvm_ffi

        self._runtime = tvm_ffi.get_global_func
        self._device = tvm_ffi.device("cuda", index)
        self._stream = self._runtime("runtime.Device_StreamCreate")(self._device)
        self._runtime("runtime.Device_SetStream")(self._device, self._stream)

    @property
    def address(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(getattr(self._stream, "value", self._stream))

    def synchronise(self) -> None:
        self._runtime("runtime.Device_StreamSync")(self._device, self._stream)

    def wall_s(self, start: Callable[[], Any]) -> float:
        """Seconds for what `start` sets off, by the host's clock: the fastest of 5 x `RUNS`."""
        return min(self._wall_s(start) for _ in range(5))

    def _wall_s(self, start: Callable[[], Any]) -> float:
        self.synchronise()
        started_s = time.perf_counter()
        for _ in range(RUNS):
            start()
        self.synchronise()
        return (time.perf_counter() - started_s) / RUNS


def captured(network: Any, stream: Stream) -> tuple[Callable[[], None], Any]:
    """What launches a CUDA graph of a network's kernels, and the tensor that it computes."""
    cuda = ctypes.CDLL(str(next((HERE / "runtime/lib").glob("libcudart.so.*"))))
    graph, launchable = ctypes.c_void_p(), ctypes.c_void_p()
    stream.synchronise()
    _cuda(cuda, "cudaStreamBeginCapture", stream.address, 2)  # relaxed: its pool may allocate
    output = network.start()
    _cuda(cuda, "cudaStreamEndCapture", stream.address, ctypes.byref(graph))
    _cuda(cuda, "cudaGraphInstantiate", ctypes.byref(launchable), graph, ctypes.c_ulonglong(0))
    return lambda: _cuda(cuda, "cudaGraphLaunch", launchable, stream.address), output


def _cuda(cuda: Any, function: str, *arguments: Any) -> None:
    status = getattr(cuda, function)(*arguments)
    if status:
        raise OSError(f"{function} gives error {status}")


def _step() -> None:
    """Answers the one request that stands in stdin."""
    sys.path.insert(0, str(HERE))
    import loading

    try:
        reply = {"result": other_clocks(json.loads(sys.stdin.readline()))}
    except loading.Refused as e:
        reply = {"error": {"kind": e.kind, "message": str(e)}}
    print(json.dumps(reply), flush=True)


def record(index: int) -> Json:
    """The whole check as one object. Raises Failed where there is no GPU, or no code for it."""
    packed = json.loads((HERE / "packed.json").read_text())
    gpu = Gpu(index)
    facts = gpu.facts()["gpu"]
    networks = fitting(packed["networks"], facts["capability"])
    rows = check(gpu, networks, facts["l2_bytes"])
    return {
        "benchmark": "gpu_check",
        "machine": {"kernel": platform.release(), "date": f"{datetime.now(timezone.utc):%F}"},
        "gpu": facts,
        "versions": {"python": platform.python_version(), **packed["versions"]},
        "rows": rows,
        "summary": summary(rows),
    }


def fitting(networks: Sequence[Json], capability: str) -> list[Json]:
    """The networks compiled for the latest architecture that a GPU can run: machine code runs on
    later minor versions of its major one, except where its name ends in `a`. Raises Failed.

    capability: such as `90`."""
    archs = {network["arch"] for network in networks}
    fit = [arch for arch in archs if _fits(arch, capability)]
    if not fit:
        raise Failed(
            "unfit", f"no network was packed for sm_{capability}, only for {sorted(archs)}"
        )
    best = max(fit, key=lambda arch: (_number(arch), arch))
    return [network for network in networks if network["arch"] == best]


def _fits(arch: str, capability: str) -> bool:
    number, own = _number(arch), int(capability)
    if arch[-1].isalpha():
        return number == own
    return number // 10 == own // 10 and number <= own


def _number(arch: str) -> int:
    return int("".join(filter(str.isdigit, arch)))


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="gpu_check", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the record to this file")
    parser.add_argument("--index", type=int, default=0, help="of the GPU, in CUDA's order")
    parser.add_argument("--step", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.step:
        _step()
        return 0
    if not (HERE / "packed.json").exists():
        parser.error(
            f"{HERE} holds no packed networks; make a folder that does, with "
            "`python -m benchmarks.gpu_pack DIR`, and run the check there"
        )
    return _checked(options.index, options.json)


def _checked(index: int, path: Path | None) -> int:
    try:
        found = record(index)
    except Failed as e:
        print(f"gpu_check: nothing was checked. {e}", file=sys.stderr)
        return NO_GPU if e.kind == "unfit" else 1
    if path:
        path.write_text(json.dumps(found, indent=1) + "\n")
    for row in found["rows"]:
        for error in row["errors"]:
            print(f"{row['network']}: {error}", file=sys.stderr)
    print(json.dumps(found["summary"], indent=1))
    return 0 if found["summary"]["passed"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
