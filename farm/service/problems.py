"""The farm's errors as answers over HTTP: all in one shape, with the status that fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from farm.core.checks import plain
from farm.core.errors import (
    FarmError,
    Leased,
    MissingExtra,
    NotAllowed,
    NotSignedIn,
    StoreBusy,
    TooBusy,
    TooLarge,
    UnknownName,
    UsageError,
)

STATUS: dict[type[FarmError], int] = {
    NotSignedIn: 401,
    NotAllowed: 403,
    UnknownName: 404,
    Leased: 409,
    TooLarge: 413,
    UsageError: 422,
    TooBusy: 429,
    MissingExtra: 501,
    StoreBusy: 503,
    FarmError: 500,
}
"""By kind of error; one that is not named has the status of the kind that it is of."""


class Problem(BaseModel):
    """What went wrong. error: the kind, as `farm.core.errors` names it. message: the rule, the
    value and the next step, in a line."""

    model_config = ConfigDict(extra="forbid")

    error: str
    message: str


def for_people(path: str) -> bool:
    """Whether a browser asks for it, which is shown where to sign in; programs are told."""
    return not path.startswith("/v1/") and path != "/metrics"


def status_of(error: FarmError) -> int:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(error: FarmError) -> Problem:
    return Problem(error=type(error).__name__, message=str(error))


def first_of(wrong: Sequence[Mapping[str, Any]]) -> str:
    """The first of pydantic's errors in words; what was sent is not repeated."""
    where = plain(".".join(map(str, wrong[0]["loc"])))
    return f"{where}: {wrong[0]['msg']}"


RESPONSES = {
    status: {"model": Problem, "description": kind.__name__} for kind, status in STATUS.items()
}
"""For the schema of the API."""
