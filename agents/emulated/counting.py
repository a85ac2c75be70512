"""Counts what one run of a network does: `agents/on_device/runner.py` with one more operation.

It runs in an arm64 process that QEMU emulates with the plugin `insnclock.c`, with nothing of the
farm but the runner. A request is a `run` of one network with `"op": "count"`; the result has
`counts`, the plugin's words from the instructions on, for one run after another one that started
with empty caches and was checked. What the call from Python costs is counted, too: some ten
thousand instructions.
"""

from __future__ import annotations

import gc
import mmap
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.on_device import loading, runner, timing

PAGE = "counters"
"""The plugin's page, in the working folder."""

_WORDS = struct.Struct("<6Q")


class Counters:
    """The plugin's page."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def restart(self) -> None:
        """Empties the caches and sets all counters to 0, from the next instructions on."""
        self._page[:8] = (1).to_bytes(8, "little")

    def read(self) -> tuple[int, ...]:
        """Instructions, accesses, misses of each cache."""
        # Copied at once: to unpack is work as well, and would be counted in between.
        return _WORDS.unpack(self._page[8 : 8 + _WORDS.size])


class _Network(loading.LoadedNetwork):
    def run(self) -> None:
        self._vm["timed"]()


def count(request: dict[str, Any], bundle: Path, begin: Callable[[int], None]) -> dict[str, Any]:
    """See the module."""
    begin(0)
    loading.load_runtime(bundle)
    timing.prepare_threads(1, request["cores"])
    counters = Counters(Path(PAGE))
    given, seed = request["networks"][0], request["seed"]
    network = _Network(given["library"], given["program"], seed)
    counters.restart()
    deviation = loading.check_outputs(network.outputs(), given["program"], seed)
    gc.disable()
    before = counters.read()
    network.run()
    after = counters.read()
    return {"counts": [b - a for a, b in zip(before, after, strict=True)], "deviation": deviation}


def main() -> None:
    """The runner with the operation `count`."""
    timing.OPERATIONS["count"] = count
    runner.main()
