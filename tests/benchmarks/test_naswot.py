"""Published figures of proxies, from tables."""

from __future__ import annotations

import json

import numpy as np

from benchmarks import naswot


def test_a_vote_counts_who_is_beaten_by_most() -> None:
    scores = np.array([[1.0, 2.0, 3.0], [1.0, 3.0, 2.0], [3.0, 1.0, 2.0]])
    assert naswot.votes(scores).tolist() == [0.0, 1.0, 2.0]


def test_the_published_accuracy_of_naswot_is_reached(published, capsys, monkeypatch) -> None:
    for name in ("nb201", "zcp_nb201_724", "accuracy_nb201"):
        published(f"{name}.npz")
    monkeypatch.setattr(naswot, "RUNS", 200)
    assert naswot.main(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)["summary"]
    assert abs(found["naswot"]["100"]["mean"] - 92.81) < 0.99
    assert found["naswot"]["10"]["mean"] < found["naswot"]["100"]["mean"]
    assert abs(found["spearman"]["validation"]["synflow"] - 0.74) < 0.03
