"""`farm tune`: real kernels on this computer; what they come to is said, kept and written down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from agents.cpu import CpuAgent
from farm.compile.target import untuned
from farm.core.values import DeviceFacts
from farm.devices import tuning
from farm.inventory.config import load
from farm.measurement.record import Job, Session
from farm.measurement.spec import MeasureSpec

pytestmark = pytest.mark.slow

KINDS = "tests.cli.test_cli_tune"
CLUSTER = f"""\
# whose farm this is
store: results # here
devices:
  cpu1: {{kind: cpu}} # as it is
  last:
    kind: {KINDS}:LastIsFastest
    threads: 1 # one

  # a GPU, as far as its target goes
  gpu: {{kind: cpu, target: {{kind: cuda, arch: sm_90}}}}
  counted: {{kind: "{KINDS}:Counted"}}
  table: {{kind: "tests.fakes:FakeAgent"}}
"""


class LastIsFastest(CpuAgent):
    """This computer, but the later a network is in a session the faster it seems."""

    def session(self, jobs: Sequence[Job], spec: MeasureSpec, number: int) -> list[Session]:
        sessions = super().session(jobs, spec, number)
        return [
            replace(
                s, blocks=tuple(replace(b, samples_s=(1 / place,), shared=()) for b in s.blocks)
            )
            for place, s in enumerate(sessions, 1)
        ]


class FirstIsFastest(LastIsFastest):
    """The other way round, which is how the rule has it."""

    def session(self, jobs: Sequence[Job], spec: MeasureSpec, number: int) -> list[Session]:
        return super().session(jobs, spec, number)[::-1]


class Counted(CpuAgent):
    """This computer, if it always said the same."""

    def facts(self) -> DeviceFacts:
        return replace(super().facts(), exact=True)


@pytest.fixture
def tuned(farm, monkeypatch):
    """The command on the first two convolutions of a network."""
    Path("cluster.yaml").write_text(CLUSTER)
    every = tuning.kernels_of

    def two(models):
        found = every(models).items()
        return dict(islice(((group, n) for group, n in found if group.main == "Conv"), 2))

    monkeypatch.setattr(tuning, "kernels_of", two)
    return lambda *words: farm("tune", *words, "--space", "nb201", "--networks", "1")


def target_of(name: str):
    return load(Path("cluster.yaml")).device(name).options.target


def test_a_cpu_is_tuned(tuned):
    code, out, err = tuned("cpu1", "--json")
    assert code == 0
    found, kept = json.loads(out), json.loads(Path("results/tuned/cpu1-nb201.json").read_text())
    assert "cpu1: 0 of 2 kernels measured" in err
    assert found["kernels"] == len(kept["choices"]) == 2
    assert found["evidence"] == str(Path("results/tuned/cpu1-nb201.json").absolute())
    assert (found["fingerprint"], found["target"]) == (kept["fingerprint"], kept["target"])
    assert all(min(s[3]) > 0 for choice in kept["choices"] for s in choice["samples_s"])
    others = [c["kernel"] for c in kept["choices"] if c["chosen"] != c["samples_s"][0][:3]]
    assert sorted(choice["kernel"] for choice in found["changed"]) == sorted(others)
    assert found["written"] == bool(found["changed"])
    assert target_of("cpu1") == (found["target"] if found["written"] else None)


def test_what_is_faster_is_written_down_and_nothing_else(tuned, farm):
    before = json.loads(farm("device", "show", "last", "--json")[1])
    code, out, _ = tuned("last")
    assert code == 0
    assert "2 kernels were measured on last" in out
    assert "2 have a schedule that is surely faster" in out
    assert out.count("Conv") == 2
    assert "its fingerprint changes" in out
    kept = json.loads(Path("results/tuned/last-nb201.json").read_text())
    assert target_of("last") == kept["target"]
    assert len(kept["target"]["schedules"]) == 2
    assert untuned(kept["target"]) == before["target"]
    lines = Path("cluster.yaml").read_text().splitlines()
    start = lines.index("    threads: 1 # one") + 1
    end = lines.index("", start)
    assert lines[:start] + lines[end:] == CLUSTER.splitlines()
    after = json.loads(farm("device", "show", "last", "--json")[1])
    assert (after["target"], after["identity"]) == (kept["target"], before["identity"])
    assert after["fingerprint"] != before["fingerprint"]


def test_a_target_is_not_replaced_unasked(tuned):
    tuned("last")
    text = Path("cluster.yaml").read_text().replace("LastIsFastest", "FirstIsFastest")
    Path("cluster.yaml").write_text(text)
    code, out, err = tuned("last")
    assert (code, out) == (2, "")
    assert "last has a `target` in cluster.yaml, which tuning may replace" in err
    assert Path("cluster.yaml").read_text() == text
    code, out, _ = tuned("last", "--yes", "--json")
    found = json.loads(out)
    assert (code, found["changed"], found["written"], found["gain"]) == (0, [], True, 0)
    assert target_of("last") == found["target"]
    assert "schedules" not in found["target"]
    code, out, _ = tuned("last", "--yes")
    assert "last keeps the rule's schedules; cluster.yaml stays as it is." in out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("cpu9",), 2, "no device 'cpu9'; did you mean 'cpu1'?"),
        (("gpu", "--yes"), 1, "only CPUs run kernels that can be tuned, gpu is a GPU"),
        (("counted",), 1, "counted counts instead; tune the real device that it stands for"),
        (("table",), 1, "nothing is compiled for table, so it has no kernels to tune"),
        (("cpu1", "--space", "nb202"), 2, "no search space to tune for 'nb202'; did you mean"),
        (("cpu1", "--networks", "0"), 2, "--networks must be 1 to 15625 for nb201, got 0"),
        (("cpu1", "--seed", "-1"), 2, "--seed must be at least 0, got -1"),
    ],
)
def test_what_cannot_be_tuned_is_said_in_one_line(farm, words, code, says):
    Path("cluster.yaml").write_text(CLUSTER)
    found, out, err = farm("tune", "--space", "nb201", *words)
    assert (found, out) == (code, "")
    assert says in err
    assert len(err.splitlines()) == 1
    assert Path("cluster.yaml").read_text() == CLUSTER
    assert not Path("results/tuned").exists()
