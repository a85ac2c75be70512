"""How devices are reached and driven: one class a kind of device.

A new kind is one file and one line in `AGENTS`; `tests/agents/test_conformance.py` is the contract.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from farm.core.errors import UnknownName

if TYPE_CHECKING:
    from farm.measurement.agent import Agent

AGENTS = {
    "cpu": "agents.cpu:CpuAgent",
    "gpu": "agents.gpu:GpuAgent",
    "insn-clock": "agents.emulated.instruction_clock:InstructionClockAgent",
    "qemu-pi": "agents.emulated.qemu_pi:QemuPiAgent",
    "replay": "agents.replay:ReplayAgent",
    "ssh": "agents.remote.agent:SshAgent",
    "vela": "agents.emulated.vela:VelaAgent",
    "zigzag": "agents.emulated.zigzag:ZigzagAgent",
}
"""Where the class of each kind is: package.module:Class."""


@runtime_checkable
class KeepsFolder(Protocol):
    """An agent that keeps files on its device."""

    def purge(self) -> None:
        """Deletes them all. Raises DeviceError."""

    def leave(self) -> None:
        """Deletes them all if there were none when the device was first reached."""


@runtime_checkable
class Advises(Protocol):
    """An agent that is best measured otherwise than most."""

    def advice(self) -> dict[str, Any]:
        """What its entry in cluster.yaml says besides its options, unless its owner knows better:
        `measure` and `controls`."""


def agent_class(kind: str) -> type[Agent]:
    """The class of a kind in `AGENTS`, or of any that is named as package.module:Class.

    Raises UnknownName for a kind that is neither.
    """
    module, _, name = AGENTS.get(kind, kind).partition(":")
    try:
        found: type[Agent] = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as e:
        hint = f"({e})" if name else "one of your own is named as package.module:Class"
        raise UnknownName("kind of device", kind, AGENTS, hint) from e
    return found
