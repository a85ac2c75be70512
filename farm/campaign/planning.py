"""From what a user asks of a campaign to a plan that can be carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from farm.campaign.kernels import most
from farm.core.errors import UsageError
from farm.core.values import Network
from farm.inventory.config import FarmConfig
from farm.measurement.spec import MeasureSpec
from farm.spaces import space
from farm.spaces.base import SearchSpace
from farm.spaces.given import given_space
from farm.spaces.sizes import Sizes
from farm.store import Plan

if TYPE_CHECKING:
    from farm.prediction.selection import Candidates

UNTIL_THE_GOAL = 200
"""Networks that a device is asked for at most, where a goal is named and no budget."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What a campaign is asked to do. Its names are the options of `farm launch`.

    space: a name, or `onnx:FOLDER` for the .onnx files in a folder.
    devices, holdout, seed, select, device_seconds, fresh: see `farm.store.Plan`.
    deadline: see there; with its time zone, and not over yet.
    budget: see there; None with a goal or with device seconds, which end the campaign then.
    target_rho, max_error, decide: the goal, see `farm.store.Plan`.
    precision: the half-width that latencies are to be known to, relative, such as 0.05; None for
        what the devices' `measure` asks for, or less where that teaches more for each second.
    shape, batch: of networks from ONNX files, where these leave them open; see `Sizes`.
    strict: whether a file that cannot be measured is an error.
    kernels: whether devices that run kernels are asked for the times of these first.
    """

    space: str
    devices: Sequence[str]
    budget: int | None = None
    holdout: int = 10
    seed: int = 0
    select: str = "active"
    device_seconds: float | None = None
    precision: float | None = None
    shape: str | None = None
    batch: int | None = None
    strict: bool = False
    kernels: bool = True
    target_rho: float | None = None
    max_error: float | None = None
    decide: str | None = None
    fresh: bool = False
    deadline: str | None = None


@dataclass(frozen=True)
class Planned:
    """A plan, the ONNX models that it brings along, and the networks that it is about.

    refused: by file of a folder, or published table, why it is left out.
    """

    plan: Plan
    models: Mapping[str, bytes]
    about: Candidates
    refused: Mapping[str, str]


def planned(launch: Launch, config: FarmConfig) -> Planned:
    """The plan of a campaign. Everything that can be refused is refused here.

    Raises UsageError, UnknownName and NetworkSyntaxError.
    """
    from farm.prediction.columns import (
        must_be_readable,
        must_not_be_published,
        of_other_spaces,
    )
    from farm.prediction.selection import Candidates

    _refuse(launch, config)
    must_not_be_published(config, launch.devices)
    sizes = Sizes(launch.shape, launch.batch)
    name, models, refused = given_space(launch.space, sizes, launch.strict)
    must_be_readable(config, name)  # whatever is wrong with the tables is said now
    searched = space(name, models)
    budget = launch.budget
    if budget is None:
        budget = _at_most(launch, searched, tuple(models) or None)
    plan = Plan(
        space=name,
        devices=tuple(launch.devices),
        budget=budget,
        holdout=launch.holdout,
        seed=launch.seed,
        specs=tuple(
            _spec(config.device(device).spec, launch.precision) for device in launch.devices
        ),
        select=launch.select,
        device_seconds=launch.device_seconds,
        networks=tuple(models) or None,
        kernels=most(budget, launch.holdout) if launch.kernels else 0,
        target_rho=launch.target_rho,
        max_error=launch.max_error,
        decide=launch.decide,
        fresh=launch.fresh,
        coarser=launch.precision is None and launch.select == "active",
        deadline=None if launch.deadline is None else _deadline(launch.deadline),
    )
    left_out = {**of_other_spaces(config, name), **refused}
    return Planned(plan, models, Candidates.of(plan, searched), left_out)


def _at_most(launch: Launch, searched: SearchSpace, networks: tuple[str, ...] | None) -> int:
    """The budget where none is named: as many networks as there are, within bounds."""
    if networks is None:
        return UNTIL_THE_GOAL
    found = searched.features([Network(searched.name, code) for code in networks])
    differing = len({tuple(row) for row in found})
    return min(UNTIL_THE_GOAL, max(1, differing - launch.holdout))


def _spec(spec: MeasureSpec, precision: float | None) -> MeasureSpec:
    if precision is None:
        return spec
    try:
        return spec.at_precision(precision)
    except ValueError as e:
        raise UsageError(f"--precision: {e}") from None


def _deadline(text: str) -> str:
    """In UTC, so that deadlines sort as text. Raises UsageError."""
    try:
        told = datetime.fromisoformat(text)
        found = told.astimezone(UTC)
    except (ValueError, OverflowError):
        told = None
    if told is None or told.tzinfo is None:
        raise UsageError(
            f"--deadline is a time with its zone, such as 2026-12-01T18:00+01:00, got {text[:80]!r}"
        )
    if found <= datetime.now(UTC):
        raise UsageError(f"--deadline {text} is over; name a later one, or leave it out")
    return found.isoformat(timespec="milliseconds")


def _refuse(launch: Launch, config: FarmConfig) -> None:
    devices = list(launch.devices)
    if not devices or len(set(devices)) < len(devices):
        known = ", ".join(config.devices)
        raise UsageError(f"--devices names each device once, got {devices}; there are {known}")
    for option, value, least in (
        ("budget", 1 if launch.budget is None else launch.budget, 1),
        ("holdout", launch.holdout, 0),
        ("seed", launch.seed, 0),
        ("device-seconds", launch.device_seconds or 0, 0),
    ):
        if not value >= least:
            raise UsageError(f"--{option} must be at least {least}, got {value}")
    _refuse_goals(launch)


def _refuse_goals(launch: Launch) -> None:
    goals = {
        "--target-rho": launch.target_rho,
        "--max-error": launch.max_error,
        "--decide": launch.decide,
    }
    named = [option for option, value in goals.items() if value is not None]
    if len(named) > 1:
        raise UsageError(f"a campaign has one goal, got {' and '.join(named)}; take one of them")
    if launch.budget is None and launch.device_seconds is None and not named:
        raise UsageError(
            "say when it is enough: --budget N networks, --device-seconds S, "
            "--target-rho .95, --max-error 5% or --decide 'latency<20ms'"
        )
    for option in ("--target-rho", "--max-error"):
        value = goals[option]
        if value is not None and not 0 < float(value) < 1:
            raise UsageError(f"{option} must be between 0 and 1, got {float(value):g}")
    if launch.decide is not None:
        from farm.prediction.goals import limit_s

        limit_s(launch.decide)
