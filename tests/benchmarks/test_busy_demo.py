"""The arithmetic of the benchmark of the demo; that it runs is seen by running it."""

from __future__ import annotations

from benchmarks import busy_demo


def test_a_run_is_told_by_what_the_demo_prints():
    device = {"verdicts": {"ok": 20, "noisy": 10}, "spearman": 0.98}
    said = {"measured": 60, "devices": {"cpu1": device, "cpu2": {**device, "spearman": None}}}
    assert busy_demo.told(said) == {
        "measured": 60,
        "verdicts": "20 noisy, 40 ok",
        "spearman cpu1": 0.98,
        "spearman cpu2": None,
    }
    assert busy_demo.told({}) == {"measured": None, "verdicts": ""}


def test_a_run_counts_as_good_with_its_repetition():
    rows = [
        {"exit": code, "again_exit": again, "seconds": seconds, "again_s": 4.0}
        for code, again, seconds in ((0, 0, 80.0), (0, 1, 90.0), (None, 0, 900.0), (0, 0, 70.0))
    ]
    assert busy_demo.summary(rows) == {
        "runs": 4,
        "exit_0": 2,
        "longest_s": 900.0,
        "median_s": 85.0,
        "again_longest_s": 4.0,
    }
