"""What the API is asked, field by field: its schema."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_NETWORKS = 10_000
"""In one question."""


class ToLaunch(BaseModel):
    """As the options of `farm launch`; max_error and precision are relative, such as 0.05;
    deadline is a time with its zone, such as 2026-12-01T18:00+01:00."""

    model_config = ConfigDict(extra="forbid")

    space: str = "nb201"
    devices: Annotated[list[str], Field(min_length=1, max_length=1000)]
    budget: Annotated[int, Field(ge=1, le=100_000)] | None = None
    holdout: Annotated[int, Field(ge=0, le=10_000)] = 10
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0
    select: str = "active"
    device_seconds: Annotated[float, Field(gt=0)] | None = None
    target_rho: float | None = None
    max_error: float | None = None
    decide: str | None = None
    fresh: bool = False
    precision: float | None = None
    kernels: bool = True
    deadline: str | None = None


Networks = Annotated[list[str], Field(min_length=1, max_length=MOST_NETWORKS)]

WaitS = Annotated[float, Field(ge=0, le=60)]


class ToMeasure(BaseModel):
    """networks: as SPACE/CODE or NAS-Bench-201 cell strings. measure: `never`, only what is
    `missing`, or `always`; but `never` takes the role `user`, and is answered with what is known
    and a job that measures. max_error: measure only where the interval is wider, relative. wait_s:
    for how long that job is waited for before it is answered."""

    model_config = ConfigDict(extra="forbid")

    networks: Networks
    measure: Literal["never", "missing", "always"] = "never"
    max_error: float | None = None
    wait_s: WaitS = 0.0


class ToPredict(ToMeasure):
    device: str
    explain: bool = False


class ToEncode(ToMeasure):
    pass


class ToResume(BaseModel):
    """again: verdicts that are measured again, such as `contended`, and `failed`, as of `farm
    campaign resume`."""

    model_config = ConfigDict(extra="forbid")

    again: Annotated[list[str], Field(max_length=20)] = []


class ToSearch(BaseModel):
    """As the options of `farm search`; max_latency_s: a limit in seconds for all devices, or one
    for each. accuracy: `table:FILE.npz:DATASET` of a published table, or `proxy:NAME`. wait_s: for
    how long the search is waited for before it is answered."""

    model_config = ConfigDict(extra="forbid")

    space: str = "nb201"
    devices: Annotated[list[str], Field(min_length=1, max_length=1000)]
    accuracy: str
    max_latency_s: float | list[float] | None = None
    pareto: bool = False
    floor: float | None = None
    reward: str = "hard"
    weight: float = 1.0
    strategy: str = "random"
    evaluations: Annotated[int, Field(ge=1, le=100_000)] = 1000
    warm_start: str | None = None
    budget: Annotated[int, Field(ge=1, le=100_000)] = 40
    confidence: float = 0.95
    at_once: Annotated[int, Field(ge=1, le=1000)] = 1
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0
    wait_s: WaitS = 0.0
