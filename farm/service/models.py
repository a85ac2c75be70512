"""What the API answers, field by field: its schema. Times are UTC in ISO 8601."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Holder(Answer):
    """The process that holds something. doing: its command."""

    host: str
    pid: int
    doing: str
    campaign: str | None
    asked_by: str
    deadline: str | None
    since: str | None
    until: str


class DeviceNow(Answer):
    """A device on the board. lost: why nothing is heard of it, where it was lost. waiting:
    requests without an outcome. verdicts_day: of what it
    measured in the last day. measured_at, temp_c: of its last measurement."""

    name: str
    kind: str
    reference: bool
    held_by: Holder | None
    quarantine: str | None
    lost: str | None
    waiting: int
    verdicts_day: dict[str, int]
    measured_at: str | None
    temp_c: float | None


class Devices(Answer):
    devices: list[DeviceNow]


class Device(Answer):
    """A device as it was seen last. facts, health: none before it was seen, else as `farm device
    show --json` says them. measured: networks by search space."""

    name: str
    kind: str
    reference: bool
    measure: dict[str, Any]
    held_by: Holder | None
    facts: dict[str, Any] | None
    health: dict[str, Any] | None
    measured: dict[str, int]


class CampaignListed(Answer):
    id: str
    state: str
    created_at: str
    requested: int
    wanted: int
    measured: int
    failed: int
    wall_s: float
    space: str
    devices: list[str]
    budget: int
    run_by: Holder | None


class Campaigns(Answer):
    campaigns: list[CampaignListed]


class HeldOut(Answer):
    network: str
    predicted_s: float
    low_s: float
    high_s: float
    measured_s: float


class OfDevice(Answer):
    """What a campaign came to on a device; see `farm campaign show --json`."""

    measured: int
    failed: int
    verdicts: dict[str, int]
    older_rules: int
    learnt: int
    reused: int
    stopped: str | None
    measured_again: int
    again_device_s: float
    spearman: float | None
    kendall: float | None
    error_median: float | None
    within_5: float | None
    within_10: float | None
    coverage_95: float | None
    heldout: int
    predictions: list[HeldOut]
    kernels: int
    kernels_failed: int
    kernels_device_s: float
    device_s: float
    busy_fraction: float | None
    held_by: Holder | None


class Launched(Answer):
    campaign: str


class Failed(Answer):
    network: str
    device: str
    kind: str
    message: str


class Campaign(Answer):
    """The same as `farm campaign show --json`."""

    campaign: str
    state: str
    run_by: Holder | None
    space: str
    requested: int
    measured: int
    failed: int
    trusted: int
    built: int
    cached: int
    wall_s: float
    devices: dict[str, OfDevice]
    quarantined: dict[str, str]
    lost: dict[str, str]
    failures: list[Failed]


class Chosen(Answer):
    """`half_width`, relative, that it was wanted to; null for what the device's spec says."""

    network: str
    device: str
    why: str | None
    half_width: float | None
    latency_s: float | None
    low_s: float | None
    high_s: float | None


class Choices(Answer):
    choices: list[Chosen]


class Input(Answer):
    name: str
    type: str
    shape: list[int | str]


class Kernel(Answer):
    kernel: str
    name: str
    calls: int
    latency_s: float
    share: float
    source: str


class Job(Answer):
    """A question that measures: `running`, `done` or `failed`. message: what its process said
    last. error: the kind of error where it failed."""

    job: str
    state: str
    doing: str
    asked_by: str
    since: str
    message: str | None
    error: str | None


class NetworkOn(BaseModel):
    """A network on a device, or `error`: why there is no latency. high_s: none where a single
    session says nothing of it."""

    model_config = ConfigDict(extra="forbid")

    network: str = ""
    device: str = ""
    latency_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None
    source: str | None = None
    verdict: str | None = None
    measured: bool = False
    revision: str | None = None
    batch: int | None = None
    flush_bytes: int | None = None
    reason: str | None = None
    inputs: list[Input] = []
    kernels: list[Kernel] = []
    error: str | None = None


class Predicted(Answer):
    """A row for each network that was asked for. learnt, kernels: what they were predicted from.
    job: what measures the rest, of a question that measures."""

    device: str
    networks: list[NetworkOn]
    learnt: int
    kernels: int
    job: Job | None = None


class NetworkEverywhere(Answer):
    network: str
    devices: list[NetworkOn]


class OnReference(Answer):
    device: str
    latency_s: float | None
    low_s: float | None
    high_s: float | None
    source: str | None
    samples: int
    verdict: str | None
    revision: str | None
    batch: int
    flush_bytes: int
    reason: str | None = None
    inputs: list[Input] = []


class Encoding(BaseModel):
    """A network's HWL encoding, as `farm hwl --json` prints it, or `error`: why it has none."""

    model_config = ConfigDict(extra="forbid")

    network: str
    inputs: list[Input] = []
    remarks: list[str] = []
    references: list[OnReference] = []
    values: list[float | None] = []
    std: list[float | None] = []
    mask: list[bool] = []
    fitted_on: int = 0
    version: str | None = None
    error: str | None = None


class Encodings(Answer):
    """job: what measures the rest, of a question that measures."""

    networks: list[Encoding]
    job: Job | None = None


class Answered(Job):
    """answer: of a job that is done, what its command prints with --json."""

    answer: Predicted | Encodings | dict[str, Any] | None = None


class Claim(Answer):
    """Something that a process holds (`granted`, with `turn` 0) or waits for, as the `turn`th.
    asked_by: for whom, who wants it done by `deadline`. since: when it was granted, or asked
    for."""

    claim: int
    thing: str
    granted: bool
    turn: int
    host: str
    pid: int
    doing: str
    campaign: str | None
    asked_by: str
    deadline: str | None
    since: str | None


class Queue(Answer):
    claims: list[Claim]


class Changed(Answer):
    """A network in two campaigns, see `farm.campaign.compare.Change`. high: none where a single
    session says nothing of it."""

    network: str
    device: str
    first_s: float
    second_s: float
    factor: float
    ratio: float
    low: float
    high: float | None
    verdict: str
    same_fingerprint: bool
    first_verdict: str
    second_verdict: str


class Crossed(Answer):
    """A device that changed in between: how many times as slow it became, if that is known."""

    device: str
    networks: int
    change: str
    reason: str
    factor: float | None


class Missing(Answer):
    campaign: str
    device: str
    networks: int


class Compared(Answer):
    """The same as `farm compare --json`."""

    counts: dict[str, int]
    networks: list[Changed]
    revisions: list[Crossed]
    missing: list[Missing]
