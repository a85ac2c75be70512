"""The study of predictors says what its summary promises, and choosing is judged by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import study, study_neural
from benchmarks.study_selection import Selection


def test_what_is_measured_first_keeps_its_promises() -> None:
    latency_s = np.array([1.0, 2.0, 3.0, 4.0])
    accuracy = np.array([50.0, 60.0, 70.0, 80.0])
    selection = Selection.of(latency_s, accuracy)
    assert selection.judge(latency_s) == {
        "chosen": 2,
        "lost": 0.0,
        "lost_verified": 0.0,
        "hypervolume": 1.0,
        "hypervolume_verified": 1.0,
    }
    # The last is believed to be faster than it is: from 3.5 to 4 it promises what it cannot.
    slow = selection.judge(np.array([1.0, 2.0, 3.0, 3.5]))
    best = 5 * 1.0 + 15 * 0.4
    assert slow["hypervolume"] == pytest.approx((5 * 0.5 + 15 * 0.4) / best)
    assert slow["lost"] == 0.0


@pytest.mark.slow
def test_a_run_that_was_cut_short_goes_on(
    published, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    published("nb201.npz")
    monkeypatch.setattr(study_neural, "STEPS", 50)
    rows, done = (
        tmp_path / "rows.jsonl",
        dict(zip(study.KEY, ("ridge", "fpga", 31, 0), strict=True)),
    )
    done |= dict.fromkeys((*study.COUNTS, *study.CHOOSING, "fit_cpu_s", "query_cpu_s"), 0.25)
    rows.write_text(json.dumps(done) + "\n")
    words = ["--devices", "fpga", "--seeds", "1", "--samples", "11,31", "--rows", str(rows)]
    some = ["--predictors", "ridge,ours,live,dngo", "--plot", str(tmp_path / "study.png")]
    assert study.main([*words, *some, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(rows.read_text().splitlines()) == len(found["rows"]) == 8
    tau = found["summary"]["kendall"]
    assert set(tau) == {"ridge", "ours", "dngo"}
    assert tau["ridge"]["fpga"]["31"] == 0.25
    assert tau["ours"]["fpga"]["11"] > tau["ridge"]["fpga"]["11"] > 0
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--predictors", "oracle"], "no predictor 'oracle'"),
        (["--samples", "20000"], "--samples are from 3 to 15000, got 20000"),
    ],
)
def test_what_cannot_be_studied_is_refused(words: list[str], said: str, capsys) -> None:
    assert study.main(words) == 2
    assert said in capsys.readouterr().err
