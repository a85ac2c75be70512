"""What a person sees of a campaign that runs: on terminals of any width, and in a file."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from farm.campaign import progress
from farm.campaign.progress import DeviceProgress, Learnt, Progress
from farm.cli.progress import Lines, duration, line, table

CURVE = tuple(Learnt(n, 0.3 / n, 0.9) for n in range(4, 40, 4))

RUNNING = Progress(
    "c3",
    {
        "cpu1": DeviceProgress(
            doing=progress.MEASURING,
            ended=24,
            wanted=30,
            group=8,
            failed=1,
            verdicts={"noisy": 3, "ok": 20},
            rate_per_min=12.34,
            left_s=29.0,
            curve=CURVE,
        ),
        "cpu2": DeviceProgress(doing=progress.CHECKING, ended=16, wanted=30, again=8),
    },
    building=2,
    elapsed_s=61.0,
    left_s=125.0,
)


def drawn(shown: Progress, width: int, encoding: str = "utf-8") -> str:
    """What a terminal of this width shows."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding)
    console = Console(file=file, width=width, force_terminal=True, color_system=None)
    console.print(table(shown))
    file.flush()
    return raw.getvalue().decode(encoding)


def test_a_line_says_what_each_device_does_and_how_long_it_will_take():
    assert line(RUNNING) == (
        "c3: 40 of 60, 8 again, 1 failed, 2 building, cpu1 measuring 8 networks, "
        "cpu2 checking its control networks, cpu1 predicted to 0.83 %, about 2 min 05 s left"
    )


@pytest.mark.parametrize("width", [60, 80, 119, 120, 200])
def test_the_picture_says_everything_at_any_width(width):
    text = drawn(RUNNING, width)
    assert all(len(row) <= width for row in text.splitlines())
    told = " ".join(text.split())
    for part in (
        "24 of 30, 1 failed",
        "measuring 8 networks",
        "12.3 a minute",
        "29 s left",
        "3 noisy, 20 ok",
        "16 of 30, 8 again",
        "checking its control networks",
        "Error on the holdout",
        "Spearman 0.900",
        "0.83 % (36)",
        "2 building, 1 min 01 s gone, about 2 min 05 s left",
    ):
        assert all(word in told for word in part.split()), part
    assert "7.5 % (4)" in told  # the curve's beginning stays


def test_the_picture_needs_nothing_but_ascii():
    assert "24 of 30" in drawn(RUNNING, 80, "ascii")


def test_one_network_is_one_network():
    alone = replace(RUNNING.devices["cpu1"], group=1)
    assert "measuring 1 network," in line(replace(RUNNING, devices={"cpu1": alone}))


def test_nothing_is_claimed_before_anything_is_known():
    fresh = Progress("c1", {"a": DeviceProgress(progress.BUILDS, 0, 6)}, 2, 0.5, None)
    assert line(fresh) == "c1: 0 of 6, 2 building, a waiting for builds, time left unknown yet"
    assert "holdout" not in drawn(fresh, 80)


def test_a_file_gets_a_line_now_and_then_and_every_event_at_once():
    now_s = 0.0
    file = io.StringIO()
    lines = Lines(Console(file=file, width=60), clock=lambda: now_s)
    long = "cpu2 drifted by +30 %: 8 networks are measured again, as soon as it has calmed down"
    for now_s, events in ((0.0, []), (1.0, [long]), (9.9, []), (10.0, ["second"]), (12.0, [])):
        lines.show(f"at {now_s:g}", events)
    assert file.getvalue().splitlines() == ["at 0", long, "second", "at 10"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 01 s"), (7800, "2 h 10 min")]
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text
