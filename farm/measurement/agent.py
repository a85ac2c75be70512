"""What a session needs of a device: the contract of all agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

if TYPE_CHECKING:
    from pydantic import BaseModel

    from farm.core.values import DeviceFacts
    from farm.measurement.record import Job, Session
    from farm.measurement.spec import MeasureSpec


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
