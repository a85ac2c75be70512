"""Networks timed as MetaSchedule's LocalRunner times candidates: the peer of `fidelity`.

    python -m benchmarks.time_evaluator < REQUEST.json > SECONDS.json

A process of its own, on whatever core the system gives it, with TVM's time_evaluator as
`tvm.s_tir.meta_schedule.runner.EvaluatorConfig` sets it up: number=3, repeat=1,
min_repeat_ms=100. The evaluation is repeated until the network's time is up. Request: a list of
{"library", "shapes", "device_s"}; reply: for each network the result of every evaluation, seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from farm.measurement.record import Job

_NUMBER, _REPEAT, _MIN_REPEAT_MS = 3, 1, 100


def evaluated(jobs: Sequence[Job], device_s: Sequence[float]) -> list[list[float]]:
    """For each job the results of its evaluations, seconds a run, taken in `device_s` seconds."""
    request = [
        {
            "library": str(job.artifact.library),
            "shapes": [list(tensor.shape) for tensor in job.artifact.program.inputs],
            "device_s": seconds,
        }
        for job, seconds in zip(jobs, device_s, strict=True)
        if job.artifact is not None
    ]
    argv = [sys.executable, "-m", "benchmarks.time_evaluator"]
    environment = {**os.environ, "TVM_NUM_THREADS": "1", "TVM_BIND_THREADS": "0"}
    done = subprocess.run(
        argv,
        input=json.dumps(request),
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: list[list[float]] = json.loads(done.stdout)
    return found


def _evaluate(given: dict[str, Any]) -> list[float]:
    import numpy as np
    import tvm
    from tvm import relax

    started_s = time.monotonic()
    rng = np.random.default_rng(0)
    device = tvm.cpu()
    machine = relax.VirtualMachine(tvm.runtime.load_module(given["library"]), device)
    arguments = [
        tvm.runtime.tensor(rng.uniform(-0.1, 0.1, shape).astype("float32"))
        for shape in given["shapes"]
    ]
    machine.save_function("main", "timed", *arguments, include_return=False)
    evaluator = machine.time_evaluator(
        "timed", device, number=_NUMBER, repeat=_REPEAT, min_repeat_ms=_MIN_REPEAT_MS
    )
    results: list[float] = []
    while not results or time.monotonic() - started_s < given["device_s"]:
        results += evaluator().results
    return results


if __name__ == "__main__":
    json.dump([_evaluate(given) for given in json.load(sys.stdin)], sys.stdout)
