"""The examples of the three uses run, and the notebook holds what a run said."""

from __future__ import annotations

import runpy
from pathlib import Path

import nbformat
import numpy as np
import pytest

from docs import notebook
from farm.farm import Farm

EXAMPLES = Path(__file__).parents[1] / "examples"
CLUSTER = """\
store: farm-data
references: [cpu1, cpu2]
measure: {min_sessions: 2, max_sessions: 2, rounds: 1, block_s: 0.001}
controls: {every: 0}
devices:
  cpu1: {kind: "tests.fakes:FakeAgent"}
  cpu2: {kind: "tests.fakes:FakeAgent", latency_s: 0.0006, seed: 2}
"""


@pytest.fixture(autouse=True)
def in_a_farm(tmp_path, monkeypatch):
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def example(monkeypatch, capsys):
    def run(name: str, *words: str) -> str:
        monkeypatch.setattr("sys.argv", [name, *words])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.slow
def test_a_campaign_then_a_query(example):
    said = example("launch_campaign.py")
    assert "cpu1: 16 networks measured; 4 others predicted to" in said
    said = example("query_hwl.py")
    assert "1000 networks on cpu1, cpu2: (1000, 2)" in said
    assert "HWL version hwl-" in said
    assert len(said.splitlines()) == 5
    with Farm.open().store() as store:
        assert {request.purpose for request, _ in store.measured(purpose="query")} <= {"query"}


def test_a_device_is_added(example):
    said = example("add_device.py", "cluster.yaml", "new", "tests.fakes:FakeAgent", "seed=3")
    assert "Devices now: cpu1, cpu2, new" in said
    assert Farm.open().config.device("new").options.seed == 3


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    done = notebook.run(EXAMPLES / "first_steps.ipynb")
    codes = [cell for cell in done.cells if cell.cell_type == "code"]
    assert "(1000, 2) ('cpu1', 'cpu2')" in codes[-2].outputs[0].text
    assert "image/png" in codes[-1].outputs[-1].data
    assert (tmp_path / "farm-data" / "farm.db").exists()


def test_the_notebook_holds_what_a_run_of_this_version_of_it_said():
    kept = nbformat.read(EXAMPLES / "first_steps.ipynb", as_version=4)
    nbformat.validate(kept)
    codes = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in codes] == list(range(1, len(codes) + 1))
    assert all(cell.outputs for cell in codes)
    assert not any(output.output_type == "error" for cell in codes for output in cell.outputs)
    assert np.sum(["image/png" in str(cell.outputs) for cell in codes]) == 1
