"""Arm Ethos-U NPUs, estimated by Vela, Arm's own compiler for them (the extra `vela`).

It counts: all layers of the int8 network, as Vela schedules them on the NPU: cycles of the
arithmetic, of the memories and of what overlaps, for a configuration and a memory system. It does
not count: the CPU beside the NPU, its driver, the start of an inference, and conflicts with others
on the bus. Weights are random, so they compress hardly at all; trained and pruned ones would.
"""

from __future__ import annotations

import csv
import re
import sys
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, model_validator

from agents.emulated.estimator import (
    Estimate,
    EstimatorAgent,
    EstimatorOptions,
    Finished,
    Model,
    Run,
    installed_version,
)
from agents.emulated.kept import Kept
from farm.core.errors import DeviceUnfit
from farm.core.hosts import cache_folder
from farm.spaces.graph import Graph

Accelerator = Literal[
    "ethos-u55-32",
    "ethos-u55-64",
    "ethos-u55-128",
    "ethos-u55-256",
    "ethos-u65-256",
    "ethos-u65-512",
    "ethos-u85-128",
    "ethos-u85-256",
    "ethos-u85-512",
    "ethos-u85-1024",
    "ethos-u85-2048",
]
"""The last number is of 8-bit products in a cycle."""

SYSTEMS: Mapping[str, tuple[str, ...]] = {
    "ethos-u55": ("Ethos_U55_High_End_Embedded", "Ethos_U55_Deep_Embedded"),
    "ethos-u65": (
        "Ethos_U65_High_End",
        "Ethos_U65_Embedded",
        "Ethos_U65_Mid_End",
        "Ethos_U65_Client_Server",
    ),
    "ethos-u85": (
        "Ethos_U85_SYS_DRAM_Mid",
        "Ethos_U85_SYS_DRAM_Low",
        "Ethos_U85_SYS_DRAM_High",
        "Ethos_U85_SYS_Flash_Low",
        "Ethos_U85_SYS_Flash_High",
    ),
}
"""The system configurations of each family in Arm's vela.ini: clock and memories. The first is
what a device has by default."""

_MEMORY_MODES = {
    "ethos-u55": "Shared_Sram",
    "ethos-u65": "Dedicated_Sram",
    "ethos-u85": "Dedicated_Sram",
}

_CPU_OPERATORS = re.compile(r"CPU operators = (\d+)")

_SEEN = {
    "cycles": "cycles_total",
    "npu_cycles": "cycles_npu",
    "macs": "nn_macs",
    "sram_bytes": "sram_total_bytes",
    "dram_bytes": "dram_total_bytes",
}
"""Columns of Vela's summary, by what they are here."""


class VelaOptions(EstimatorOptions):
    """accelerator, system, memory: as Vela names its configurations; by default the system and
    memory mode that are usual for the accelerator."""

    accelerator: Accelerator = "ethos-u55-128"
    system: str | None = None
    memory: (
        Literal[
            "Sram_Only",
            "Shared_Sram",
            "Dedicated_Sram",
            "Dedicated_Sram_256KB",
            "Dedicated_Sram_384KB",
            "Dedicated_Sram_512KB",
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _system_is_of_the_family(self) -> Self:
        known = SYSTEMS[self.family]
        if self.system is not None and self.system not in known:
            raise ValueError(f"`system` of {self.family} is {', '.join(known)}, got {self.system}")
        return self

    @property
    def family(self) -> str:
        return self.accelerator.rpartition("-")[0]


class Vela:
    """An Ethos-U NPU; results are kept in the cache."""

    def __init__(self, options: VelaOptions) -> None:
        self._configuration = {
            "accelerator": str(options.accelerator),
            "system": options.system or SYSTEMS[options.family][0],
            "memory": options.memory or _MEMORY_MODES[options.family],
        }
        self._kept = Kept(cache_folder() / "vela")

    def identity(self) -> Mapping[str, str]:
        """See `Model.identity`."""
        vela = installed_version("ethos-u-vela", "vela")
        from agents.emulated import tflite

        return {**self._configuration, "vela": vela, "writer": tflite.VERSION}

    def estimate(self, graph: Graph, run: Run) -> Estimate:
        """See `Model.estimate`."""
        identity = self.identity()
        from agents.emulated import tflite

        model = tflite.model(graph)
        key = {**identity, "model": sha256(model).hexdigest()}
        summary = self._kept.get(key)
        if summary is None:
            summary = self._compiled(model, run)
            self._kept.put(key, summary)
        seen = {name: float(summary[column]) for name, column in _SEEN.items()}
        return Estimate(seen["cycles"] / float(summary["core_clock"]), seen)

    def _compiled(self, model: bytes, run: Run) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="farm-vela-") as text:
            folder = Path(text)
            (folder / "network.tflite").write_bytes(model)
            finished = run(self._argv(), folder)
            return _summary(finished, folder)

    def _argv(self) -> list[str]:
        options = {
            "--accelerator-config": self._configuration["accelerator"],
            "--system-config": self._configuration["system"],
            "--memory-mode": self._configuration["memory"],
            "--config": "Arm/vela.ini",
            "--output-dir": "out",
        }
        words = [word for pair in options.items() for word in pair]
        start = [sys.executable, "-P", "-m", "ethosu.vela", "network.tflite"]
        return [*start, *words, "--show-cpu-operations"]


def _summary(finished: Finished, folder: Path) -> dict[str, Any]:
    """The last row of the summary that Vela wrote."""
    found = list(folder.glob("out/*_summary_*.csv"))
    if finished.status != 0 or not found:
        raise DeviceUnfit(f"Vela refuses the network or the configuration: {finished.last_words}")
    operators = _CPU_OPERATORS.search(finished.out)
    if operators is None or int(operators[1]) > 0:
        number = "an unknown number" if operators is None else operators[1]
        raise DeviceUnfit(
            f"{number} of the network's operations run on the CPU beside the NPU, which Vela does "
            "not count"
        )
    with found[0].open(newline="") as file:
        return list(csv.DictReader(file))[-1]


class VelaAgent(EstimatorAgent):
    """Estimates networks on an Ethos-U NPU."""

    options: ClassVar[type[BaseModel]] = VelaOptions

    def _make_model(self, options: VelaOptions) -> Model:
        return Vela(options)
