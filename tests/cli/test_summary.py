"""What a person reads after a campaign, and a program: whatever the verdicts were."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from farm.campaign.summary import Summary
from farm.cli import show
from farm.core.values import Network
from farm.measurement.record import Failure
from farm.measurement.spec import MeasureSpec
from farm.prediction.evaluation import Judgement, Prediction
from farm.store import Plan, Request, StoredCampaign

NETWORK = Network("nb201", "|none~0|")


def summary(
    measured=60, failed=0, missing=0, verdicts=None, predictions=(), devices=("a",), again=0
):
    """Of a campaign on one device or more; the first has what is given."""
    requested = measured + failed + missing
    plan = Plan("nb201", devices, requested, 0, 0, (MeasureSpec(),) * len(devices))
    stored = StoredCampaign(
        id="c1",
        plan=Plan(**{**vars(plan), "budget": requested // len(devices)}),
        created_at="2026-01-01T00:00:00+00:00",
        cancelled=False,
        requested=requested,
        measured=measured,
        failed=failed,
        wall_s=100.0,
        busy_s={"a": 40.0},
        ended=dict.fromkeys(devices, (measured + failed) // len(devices)),
    )
    return Summary(
        campaign=stored,
        built=0,
        cached=0,
        counts=dict.fromkeys(devices, (measured, failed)),
        verdicts={device: verdicts or {} for device in devices},
        older_rules=dict.fromkeys(devices, 0),
        again=dict.fromkeys(devices, (again, 2.0 * again)),
        judgements=dict.fromkeys(devices, Judgement(0.9, 0.8, tuple(predictions))),
        kernels={},
        failures=(
            (Request(1, "c1", NETWORK, "a", "learn"), Failure(NETWORK, "a", "crash", "x", False)),
        )
        if failed
        else (),
        quarantined={},
        lost={},
    )


def text(s: Summary, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(show.summary(s.to_json(), "farm campaign resume c1"), crop=False)
    return console.file.getvalue()


def test_says_what_was_measured_twice():
    assert "measured" not in text(summary()).partition("trusted")[2]
    said = text(summary(again=8))
    assert "a measured 8 results twice, which took 16 s of its 40 s." in said
    device = summary(again=8).to_json()["devices"]["a"]
    assert (device["measured_again"], device["again_device_s"]) == (8, 16.0)


@pytest.mark.parametrize(
    ("verdicts", "said", "command"),
    [
        (
            {"ok": 60},
            "All 60 latencies can be trusted: 60 to the precision that was asked for.",
            None,
        ),
        (
            {"noisy": 60},
            "All 60 latencies can be trusted: 60 to the wider interval that is told with them.",
            None,
        ),
        (
            {"ok": 20, "noisy": 30, "contended": 7, "throttled": 3},
            "50 of 60 latencies can be trusted: 20 to the precision that was asked for and 30 to "
            "the wider interval that is told with them. During the other 10 the device did "
            "something else as well: 3 throttled, 7 contended.",
            "`farm campaign resume c1 --again throttled,contended` measures those again",
        ),
        (
            {"unresolved": 60},
            "0 of 60 latencies can be trusted. During the other 60",
            "--again unresolved`",
        ),
    ],
)
def test_it_says_how_many_latencies_can_be_trusted_and_what_mends_the_rest(verdicts, said, command):
    found = summary(verdicts=verdicts)
    told = " ".join(text(found).split())
    assert said in told
    assert found.succeeded
    assert (command in told) if command else ("--again" not in told)


@pytest.mark.parametrize(
    ("outcomes", "good"),
    [
        ({"measured": 60}, True),
        ({"measured": 58, "failed": 2}, True),
        ({"measured": 0, "failed": 60}, False),
        ({"measured": 50, "missing": 10}, False),
    ],
)
def test_it_succeeded_where_every_request_has_an_outcome(outcomes, good):
    assert summary(verdicts={"contended": outcomes["measured"]}, **outcomes).succeeded == good


def test_a_program_gets_the_quality_of_predictions():
    measured = [1.0, 1.0, 1.0, 1.0]
    predicted = [1.01, 1.08, 1.2, 0.96]
    points = [
        Prediction(NETWORK, p, p - 0.1, p + 0.1, m)
        for p, m in zip(predicted, measured, strict=True)
    ]
    found = summary(predictions=points).to_json()["devices"]["a"]
    assert found["error_median"] == pytest.approx(0.06)
    assert (found["within_5"], found["within_10"], found["coverage_95"]) == (0.5, 0.75, 0.75)
    assert (found["device_s"], found["busy_fraction"], found["heldout"]) == (40.0, 0.4, 4)


def test_what_cannot_be_said_is_null():
    found = summary().to_json()["devices"]["a"]
    keys = ("error_median", "within_5", "within_10", "coverage_95")
    assert [found[key] for key in keys] == [None] * 4


@pytest.mark.parametrize("width", [60, 99, 100, 200])
def test_no_column_of_the_table_is_broken(width):
    found = summary(verdicts={"ok": 20, "noisy": 30, "contended": 7, "throttled": 3})
    head = next(line for line in text(found, width).splitlines() if line.startswith("device"))
    assert head.split()[-1] == ("busy" if width >= 100 else "by")


def test_a_command_is_printed_whole_on_any_terminal():
    found = text(summary(verdicts={"unresolved": 60}), width=40)
    assert "`farm campaign resume c1 --again unresolved` measures those again" in found
