"""What runners and supervisors may answer: checked before the farm makes anything of it.

A device may be broken, or not the one that it says. What does not fit is a DeviceError that names
it, and keys that nobody asked for are dropped.
"""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from farm.core.checks import plain
from farm.core.errors import DeviceError
from farm.core.values import MOST_CPUS
from farm.measurement.record import MOST_RUNS

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)

_MOST_SAMPLES, _MOST_FILES, _MOST_NETWORKS, _MOST_BYTES = 10**6, 4 * MOST_CPUS, 10**4, 1 << 50

Number = Annotated[float, Field(ge=-1e18, le=1e18)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
Some = Annotated[float, Field(ge=1e-9, le=1e9)]
"""Seconds of some work: no call of a function takes less than a nanosecond."""

Count = Annotated[int, Field(ge=0, le=1 << 53)]
Name = Annotated[str, Field(max_length=1024)]
Samples = Annotated[list[Some], Field(min_length=1, max_length=_MOST_SAMPLES)]
Text = Annotated[str, Field(max_length=1 << 21)]
Files = Annotated[dict[Name, Text], Field(max_length=_MOST_FILES)]


@with_config(_STRICT)
class Reading(TypedDict):
    """See `agents.on_device.timing.Telemetry.reading`."""

    time_s: Number
    utc_s: Number
    involuntary_switches: Count
    cpu_s: Seconds
    waited_s: Seconds | None
    steal_ticks: Count | None
    clock_probe_s: Some
    files: Files
    gpu: NotRequired[dict[Name, Number]]


@with_config(_STRICT)
class TimedBlock(TypedDict):
    samples_s: Samples
    shared: NotRequired[Annotated[list[bool], Field(max_length=_MOST_SAMPLES)]]
    core_probe: NotRequired[Some]
    runs_per_sample: Annotated[int, Field(ge=1, le=MOST_RUNS)]
    before: Reading
    after: Reading


@with_config(_STRICT)
class TimedNetwork(TypedDict):
    load_s: Seconds
    warmup_s: Samples
    warmup_taken_s: Seconds
    blocks: Annotated[list[TimedBlock], Field(min_length=1, max_length=MOST_RUNS)]


@with_config(_STRICT)
class TimedSession(TypedDict):
    """See `agents.on_device.timing.session`."""

    networks: Annotated[list[TimedNetwork], Field(max_length=_MOST_NETWORKS)]


@with_config(_STRICT)
class Seen(TypedDict):
    """See `agents.on_device.timing.facts`."""

    uname: Annotated[list[Name], Field(min_length=5, max_length=5)]
    python: Name
    affinity: Annotated[
        list[Annotated[int, Field(ge=0, lt=MOST_CPUS)]], Field(min_length=1, max_length=MOST_CPUS)
    ]
    priority: NotRequired[Name]
    files: Files
    gpu: NotRequired[dict[Name, Name | Number | Count]]


@with_config(_STRICT)
class Probed(TypedDict):
    """See `agents.on_device.supervisor.probe`."""

    uname: Annotated[list[Name], Field(min_length=5, max_length=5)]
    python: Name
    pointer_bits: Annotated[int, Field(ge=8, le=1024)]
    clock_s: Number
    folder: Name
    folder_is_there: bool
    noexec: bool
    free_bytes: Count


@with_config(_STRICT)
class Kept(TypedDict):
    """See `agents.on_device.supervisor.Folder.have`."""

    path: NotRequired[Annotated[str, Field(min_length=1, max_length=4096)]]
    bytes: NotRequired[Annotated[int, Field(ge=0, le=_MOST_BYTES)]]


@with_config(_STRICT)
class Told(TypedDict):
    """Why there is no result."""

    kind: Name
    message: str
    network: NotRequired[Annotated[int, Field(ge=0, lt=_MOST_NETWORKS)] | None]


SESSION, SEEN, PROBED = TypeAdapter(TimedSession), TypeAdapter(Seen), TypeAdapter(Probed)
KEPT, TOLD = TypeAdapter(Kept), TypeAdapter(Told)

_Shape = TypeVar("_Shape")


def fitting(shape: TypeAdapter[_Shape], answer: Any, device: str) -> _Shape:
    """The answer, if it has this shape. Raises DeviceError; device: named in its message."""
    try:
        return shape.validate_python(answer)
    except ValidationError as e:
        first = e.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "it"
        got = plain(repr(first["input"]))[:80]
        raise DeviceError(
            f"{device} answers what does not fit: {where}: {first['msg']}, got {got}; look whether "
            "it is the device that it should be"
        ) from None
