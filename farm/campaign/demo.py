"""The demo: a first campaign that fits the computer that it runs on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agents.cpu import CpuOptions
from farm.campaign.machine import Machine
from farm.campaign.planning import Launch
from farm.core.errors import UsageError
from farm.inventory.config import FarmConfig

PRECISION = 0.05
"""Ranks and a learning curve need no more, and it costs a tenth of the time of 1 %."""

_FREE = 0.3
"""CPUs' worth of time that other programs may take of the cores that threads need: with more of
it, latencies of two threads on two cores are those of one thread half of the time."""

_DEVICE_S = 45.0
"""Device seconds after which nothing more is chosen, for each device."""

_START_S, _BUILD_S, _MEASURE_S = 25.0, 1.0, 1.0
"""What Ray's start and the plot take, a build, and a network on a device with its share of control
networks; on two cores of a virtual machine beside a busy neighbour."""


@dataclass(frozen=True)
class DemoPlan:
    """What the demo does on a machine. devices: with their threads.

    left_out: why a device is not measured. notes: what else to know, a sentence each.
    """

    devices: Mapping[str, int]
    budget: int
    holdout: int
    left_out: Mapping[str, str]
    notes: tuple[str, ...]
    seconds: float

    @property
    def launch(self) -> Launch:
        return Launch(
            kernels=False,
            space="nb201",
            devices=tuple(self.devices),
            budget=self.budget,
            holdout=self.holdout,
            device_seconds=_DEVICE_S * len(self.devices),
            precision=PRECISION,
        )


def plan(machine: Machine, devices: Mapping[str, int]) -> DemoPlan:
    """What to measure here. devices: those of this computer's cores, each with its threads.

    The device with the fewest threads is always measured, and one with more of them where they can
    be had.
    """
    if not devices:
        raise UsageError("the demo needs a device of `kind: cpu` without `cores`; see cluster.yaml")
    first, *more = sorted(devices, key=lambda name: (devices[name], name))
    second = next((name for name in more if devices[name] > devices[first]), None)
    why = "" if second is None else _why_not(machine, devices[second])
    chosen = [first] if second is None or why else [first, second]
    small = machine.usable < 1
    budget, holdout = (10, 6) if small else (20, 10)
    networks = budget + holdout
    work_s = networks * (_BUILD_S + _MEASURE_S * len(chosen))
    return DemoPlan(
        devices={name: devices[name] for name in chosen},
        budget=budget,
        holdout=holdout,
        left_out={second: why} if second is not None and why else {},
        notes=tuple(_notes(machine)),
        seconds=_START_S + work_s / min(1.0, machine.usable),
    )


def told(machine: Machine, plan: DemoPlan) -> list[str]:
    """What was found and what will be done, a sentence each."""
    busy = f", of which other programs keep {machine.busy:.1f} busy" if machine.busy >= 0.1 else ""
    devices = [f"{name} ({_threads(n)})" for name, n in plan.devices.items()]
    return [
        f"This computer lets the farm use {_cores(machine)}{busy}.",
        f"The demo measures {plan.budget + plan.holdout} networks of NAS-Bench-201 on "
        f"{' and '.join(devices)}: {plan.budget} to learn from, {plan.holdout} to judge by.",
        *(f"Not on {name}: {why}." for name, why in plan.left_out.items()),
        *plan.notes,
    ]


def devices_here(config: FarmConfig) -> dict[str, int]:
    """The CPUs of the file that the farm may choose cores for, each with its threads."""
    return {
        name: device.options.threads
        for name, device in config.devices.items()
        if isinstance(device.options, CpuOptions) and device.options.cores is None
    }


def _why_not(machine: Machine, threads: int) -> str:
    """Why so many threads cannot be had; nothing where they can."""
    if machine.usable < threads:
        return f"{threads} threads need as many cores, and {_there(machine)}"
    if machine.apart < threads:
        shared = _one(machine.apart)
        return f"{threads} threads need as many cores, and the CPUs here are parts of {shared}"
    if machine.usable - machine.busy < threads - _FREE:
        return (
            f"{threads} threads need as many cores at the same time, and of the "
            f"{_number(machine.usable)} here other programs keep {machine.busy:.1f} busy"
        )
    return ""


def _there(machine: Machine) -> str:
    if machine.quota is not None and machine.quota < len(machine.cores):
        return f"a control group limits this process to {machine.quota:.2g} of them"
    return f"this process may use {_one(len(machine.cores))}"


def _notes(machine: Machine) -> Sequence[str]:
    """What makes measurements here worth less."""
    notes = []
    if machine.usable < 1:
        notes.append(
            f"A control group stops this process for {1 - machine.usable:.0%} of the time: fewer "
            "networks are measured, and some may come out as contended."
        )
    if len(machine.cores) == 1:
        notes.append("On one core, networks are compiled and measured in turns: it takes longer.")
    if not machine.priority:
        notes.append(
            "Priority may not be raised here (root may): other programs widen the intervals."
        )
    if machine.battery:
        notes.append(
            "This computer is on battery and may slow down meanwhile: latencies can come out as "
            "throttled; mains power helps."
        )
    return notes


def _cores(machine: Machine) -> str:
    cores = _one(len(machine.cores))
    if machine.usable == len(machine.cores):
        return cores
    return f"{cores} for {machine.usable:.2g} cores' worth of time (its control group's limit)"


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


def _one(count: int) -> str:
    return "one core" if count == 1 else f"{count} cores"


def _number(count: float) -> str:
    return f"{count:.2g}"
