"""Published figures of proxies, from tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks import naswot
from benchmarks.naswot_scores import scored
from farm.spaces import space


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


def test_networks_that_nwot_is_kept_of_are_not_computed_again(tmp_path: Path) -> None:
    """A network that is all convolutions tells images further apart than one that is none."""
    nb201, kept = space("nb201"), tmp_path / "nwot.jsonl"
    cell = "|{0}~0|+|{0}~0|{0}~1|+|{0}~0|{0}~1|{0}~2|"
    none, both = (nb201.parse(cell.format(name)) for name in ("none", "nor_conv_3x3"))
    assert scored([none, both], kept)[both.code] > scored([none], kept)[none.code]
    assert len(kept.read_text().splitlines()) == 2


def test_area_starts_from_the_scores_and_walks_to_other_networks(
    published, tmp_path: Path, capsys, monkeypatch
) -> None:
    for name in ("nb201", "zcp_nb201_724", "accuracy_nb201"):
        published(f"{name}.npz")
    for name, value in {"RUNS": 50, "AREA_RUNS": 3, "EVALUATED": (60,)}.items():
        monkeypatch.setattr(naswot, name, value)
    nb201, kept = space("nb201"), tmp_path / "nwot.jsonl"
    networks = nb201.sample(nb201.size, np.random.default_rng(0))[:120]
    lines = [json.dumps([one.code, one.code.count("nor_conv_3x3")]) for one in networks]
    kept.write_text("\n".join(lines) + "\n")
    assert naswot.main(["--json", "--scores", str(kept), "--networks", "120"]) == 0
    own = json.loads(capsys.readouterr().out)["summary"]["own"]
    assert list(own["naswot"]) == ["10", "100"]
    assert own["spearman"] > 0.3
    assert own["area"]["60"]["mean"] > own["naswot"]["100"]["mean"]
