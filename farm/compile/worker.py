"""What the process does that TVM runs in, `python -m farm.compile`.

LLVM ends the process that it runs in when it meets what it cannot compile, and it keeps memory.
A compile actor outlives both, because it keeps TVM in this child. Requests and replies are JSON
objects, one a line:

    {"id": 1, "op": "target", "target": ...}
    {"id": 2, "op": "kernel", "target": ..., "key": ..., "kernel": {...}, "cache": ROOT}
    {"id": 3, "op": "program", "listing": {...}}
    {"id": 4, "op": "cuda", "target": ..., "model": BASE64}
    {"id": 5, "op": "schedules", "target": ..., "kernel": {...}}

    {"id": 1, "result": {"triple": "x86_64-linux-gnu", "runs_here": true}}
    {"id": 2, "error": {"kind": "build", "message": ...}}

The worker ends when its stdin does.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from dataclasses import asdict
from typing import Any

from farm.compile import bytecode, lower, target
from farm.compile.codegen import schedules
from farm.compile.groups import Group, from_json
from farm.compile.kernel_cache import KernelCache
from farm.compile.listing import Listing
from farm.core.errors import FarmError, StoreFull, TargetError

Json = dict[str, Any]


def _target(request: Json) -> Json:
    resolved = target.resolve(request["target"])
    triple = str(resolved.attrs.get("mtriple", ""))
    return {"triple": triple, "runs_here": target.runs_here(resolved)}


def _kernel(request: Json) -> Json:
    """Puts a kernel into the cache, unless another process has done so meanwhile."""
    cache, key = KernelCache(request["cache"]), request["key"]
    with cache.building(key):
        if cache.get(key) is None:
            resolved = target.resolve(request["target"])
            kernel = from_json(request["kernel"])
            cache.put(key, lower.build(kernel, f"k{key[:24]}", resolved, target.isa(resolved)))
    return {}


def _schedules(request: Json) -> Json:
    resolved, group = target.resolve(request["target"]), from_json(request["kernel"])
    assert isinstance(group, Group)
    found = schedules(group, target.isa(resolved))
    return {"schedules": [asdict(schedule) for schedule in found]}


def _program(request: Json) -> Json:
    program = bytecode.program(Listing.from_json(request["listing"]))
    return {"program": base64.b64encode(program).decode()}


def _cuda(request: Json) -> Json:
    from farm.compile import cuda_lower  # imports much of TVM

    library, arch = cuda_lower.library(base64.b64decode(request["model"]), request["target"])
    return {"library": base64.b64encode(library).decode(), "arch": arch}


OPERATIONS = {
    "cuda": _cuda,
    "kernel": _kernel,
    "program": _program,
    "schedules": _schedules,
    "target": _target,
}


def answer(line: str) -> Json:
    """The reply to a request."""
    request = json.loads(line)
    try:
        return {"id": request["id"], "result": OPERATIONS[request["op"]](request)}
    except FarmError as error:
        return {"id": request["id"], "error": {"kind": _kind(error), "message": str(error)}}
    except Exception as error:  # noqa: BLE001 - whatever TVM raises ends one kernel, not the worker
        message = f"{type(error).__name__}: {' '.join(str(error).split())[-500:]}"
        return {"id": request["id"], "error": {"kind": "build", "message": message}}


def _kind(error: FarmError) -> str:
    return {TargetError: "target", StoreFull: "full"}.get(type(error), "build")


def serve() -> None:
    """Answers what stdin asks for, until it ends."""
    # Replies get a descriptor of their own: some of TVM's passes print.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(answer(line)), file=replies, flush=True)
