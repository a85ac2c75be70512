"""How devices are reached and driven: one class a kind of device.

A new kind is one file and one line in `AGENTS`; `tests/agents/test_conformance.py` is the contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

from farm.errors import UnknownName

if TYPE_CHECKING:
    from pydantic import BaseModel

    from farm.types import DeviceFacts, Job, MeasureSpec, Session

AGENTS = {
    "cpu": "agents.cpu:CpuAgent",
    "gpu": "agents.gpu:GpuAgent",
    "insn-clock": "agents.emulated.instruction_clock:InstructionClockAgent",
    "qemu-pi": "agents.emulated.qemu_pi:QemuPiAgent",
    "replay": "agents.replay:ReplayAgent",
    "ssh": "agents.ssh:SshAgent",
    "vela": "agents.emulated.vela:VelaAgent",
    "zigzag": "agents.emulated.zigzag:ZigzagAgent",
}
"""Where the class of each kind is: package.module:Class."""


class Agent(Protocol):
    """A device. It is started by `with`; one thread uses it at a time.

    options: what an entry of cluster.yaml is validated by.
    """

    options: ClassVar[type[BaseModel]]

    def __init__(self, name: str, options: Any) -> None:
        """name: of the device; options: an instance of `options`."""

    def __enter__(self) -> Self:
        """Starts the device. Raises RuntimeError where it is started already."""

    def __exit__(self, *exception: object) -> None:
        """Stops the device and leaves no process behind."""

    def facts(self) -> DeviceFacts:
        """What the device is. Raises DeviceError where it cannot be used as configured."""

    def session(self, jobs: Sequence[Job], spec: MeasureSpec, number: int) -> list[Session]:
        """Times the networks of `jobs` in one fresh process, in rounds; one result for each job.

        number: of the session; it decides the order of blocks and nothing else.
        Raises the DeviceError that says why there is no result, and for which network where that
        is known (`DeviceError.network`). After any of them the agent can be asked again.
        """


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
        `measure` and `anchors`."""


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
