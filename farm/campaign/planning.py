"""From what a user asks of a campaign to a plan that can be carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from farm.campaign.kernels import most
from farm.core.errors import UsageError
from farm.inventory.config import FarmConfig
from farm.measurement.record import MeasureSpec
from farm.spaces import space
from farm.spaces.given import given_space
from farm.spaces.sizes import Sizes
from farm.store import Plan

if TYPE_CHECKING:
    from farm.prediction.selection import Chooser


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What a campaign is asked to do. Its names are the options of `farm launch`.

    space: a name, or `onnx:FOLDER` for the .onnx files in a folder.
    devices, budget, holdout, seed, select, device_seconds: see `farm.store.Plan`.
    precision: the half-width that latencies are to be known to, relative, such as 0.05; None for
        what the devices' `measure` asks for.
    shape, batch: of networks from ONNX files, where these leave them open; see `Sizes`.
    strict: whether a file that cannot be measured is an error.
    kernels: whether devices that run kernels are asked for the times of these first.
    """

    space: str
    devices: Sequence[str]
    budget: int
    holdout: int = 10
    seed: int = 0
    select: str = "active"
    device_seconds: float | None = None
    precision: float | None = None
    shape: str | None = None
    batch: int | None = None
    strict: bool = False
    kernels: bool = True


@dataclass(frozen=True)
class Planned:
    """A plan, the ONNX models that it brings along, and what chooses its networks.

    refused: by file of a folder why it is left out.
    """

    plan: Plan
    models: Mapping[str, bytes]
    chooser: Chooser
    refused: Mapping[str, str]


def planned(launch: Launch, config: FarmConfig) -> Planned:
    """The plan of a campaign. Everything that can be refused is refused here.

    Raises UsageError, UnknownName and NetworkSyntaxError.
    """
    from farm.prediction.selection import Chooser

    _refuse(launch, config)
    sizes = Sizes(launch.shape, launch.batch)
    name, models, refused = given_space(launch.space, sizes, launch.strict)
    plan = Plan(
        space=name,
        devices=tuple(launch.devices),
        budget=launch.budget,
        holdout=launch.holdout,
        seed=launch.seed,
        specs=tuple(
            _spec(config.device(device).spec, launch.precision) for device in launch.devices
        ),
        select=launch.select,
        device_seconds=launch.device_seconds,
        networks=tuple(models) or None,
        kernels=most(launch.budget, launch.holdout) if launch.kernels else 0,
    )
    return Planned(plan, models, Chooser(plan, space(name, models)), refused)


def _spec(spec: MeasureSpec, precision: float | None) -> MeasureSpec:
    if precision is None:
        return spec
    try:
        return spec.at_precision(precision)
    except ValueError as e:
        raise UsageError(f"--precision: {e}") from None


def _refuse(launch: Launch, config: FarmConfig) -> None:
    devices = list(launch.devices)
    if not devices or len(set(devices)) < len(devices):
        known = ", ".join(config.devices)
        raise UsageError(f"--devices names each device once, got {devices}; there are {known}")
    for option, value, least in (
        ("budget", launch.budget, 1),
        ("holdout", launch.holdout, 0),
        ("seed", launch.seed, 0),
        ("device-seconds", launch.device_seconds or 0, 0),
    ):
        if not value >= least:
            raise UsageError(f"--{option} must be at least {least}, got {value}")
