"""Certificates, and the commands that say whether a device is trusted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from farm.cli.health import sparkline
from farm.core.errors import DeviceError
from farm.devices import controls
from farm.devices.certificate import certify, certify_briefly
from farm.measurement.record import Block, Job, Session
from farm.measurement.spec import MeasureSpec
from tests.conftest import FAKES
from tests.fakes import FakeAgent, FakeOptions
from tests.measurement.test_sessions import FACTS, QUIET

LAUNCH = (
    *("launch", "--devices", "a", "--budget", "9", "--holdout", "3", "--precision", "1%"),
    *("--fresh", "--executor", "inline"),
)
JOBS = [Job(network, None) for network in controls.NETWORKS]


class Known:
    """A device whose timer, warm-up and drift are known."""

    def facts(self):
        return FACTS

    def session(self, jobs, spec: MeasureSpec, number: int) -> list[Session]:
        return [self._session(10.0 ** -(4 - i), spec, number) for i, _ in enumerate(jobs)]

    def _session(self, latency_s: float, spec: MeasureSpec, number: int) -> Session:
        runs = max(1, round(spec.sample_s / latency_s))
        level_s = latency_s + 1e-6 / runs
        blocks = []
        for index in range(spec.rounds):
            hot = 1 + 0.1 * index / spec.rounds if spec.block_s >= 0.1 else 1.0
            base = level_s * hot * (1 + 0.01 * number)
            samples = tuple(base + k * 64e-9 / runs for k in range(3))
            seen = {**QUIET, "elapsed_s": 10.0, "utc_elapsed_s": 10.0, "temp_c": 40.0 + index}
            seen |= {"steal_s": 5.0} if index == 1 else {}
            shared = (index == 2, False, False)
            blocks.append(Block(samples, runs, seen, shared=shared))
        warmup = (3 * level_s, 2 * level_s, 1.1 * level_s, level_s, level_s)
        return Session(warmup, tuple(blocks), device_s=1.0)


def test_a_certificate_finds_what_is_so():
    found = certify(Known(), JOBS, MeasureSpec(), load_s=10.0)
    assert found.timer_resolution_s == pytest.approx(64e-9, rel=0.01)
    assert found.timer_overhead_s == pytest.approx(1e-6, rel=0.05)
    assert found.block_spread == pytest.approx(0.0, abs=1e-4)
    assert found.session_spread == pytest.approx(0.0112, rel=0.05)
    assert found.warmup_samples == 3
    assert found.drift == pytest.approx(0.08, abs=0.01)
    assert found.temp_c == 49.0
    assert found.rejected.keys() == {"contended"}
    assert 0.1 < found.rejected["contended"] < 0.2
    assert found.shared == pytest.approx(0.05, abs=0.02)
    assert 0.01 < found.resolves < 0.1
    assert found.correct is None
    json.dumps(found.to_json(), allow_nan=False)


def test_a_brief_one_is_of_the_first_network_and_looks_for_no_drift():
    found = certify_briefly(Known(), JOBS, MeasureSpec())
    assert found.latency_s.keys() == {network.id for network in controls.NETWORKS}
    assert found.session_spread == pytest.approx(0.0082, rel=0.05)
    assert (found.drift, found.load_s) == (None, 0.0)
    json.dumps(found.to_json(), allow_nan=False)


def test_a_slow_device_is_kept_busy_for_as_long_by_our_clock():
    class Slow(Known):
        def facts(self):
            return replace(FACTS, info={"pace": "20"})

    found = certify(Slow(), JOBS, MeasureSpec(), load_s=10.0)
    assert found.load_s == pytest.approx(certify(Known(), JOBS, MeasureSpec(), 0.5).load_s, rel=0.5)
    assert found.drift == pytest.approx(0.08, abs=0.01)


def test_a_device_that_answers_wrong_gets_none():
    with (
        FakeAgent("a", FakeOptions(fault="wrong_output")) as agent,
        pytest.raises(DeviceError, match="wrong_output"),
    ):
        certify(agent, JOBS, MeasureSpec(), load_s=0.1)


def test_check_stores_what_show_shows(farm):
    code, out, _ = farm("device", "check", "a", "--load-seconds", "0.1", "--json")
    assert code == 0
    said = json.loads(out)
    assert said["device"] == "a"
    assert set(said["latency_s"]) == {controls.NETWORKS[0].id, controls.NETWORKS[-1].id}
    shown = json.loads(farm("device", "show", "a", "--json")[1])
    assert shown["health"]["certificate"]["checked_at"] == said["checked_at"]
    assert shown["health"]["certificate"]["fingerprint"] == shown["fingerprint"]
    out = farm("device", "show", "a")[1]
    assert "between sessions" in out
    assert "can tell apart" in out
    assert farm("device", "check", "a", "--load-seconds", "0")[0] == 2
    assert farm("device", "check", "none")[0] == 2


@pytest.mark.slow
def test_show_has_the_controls_as_a_line_and_as_a_plot(farm):
    farm(*LAUNCH)
    code, out, _ = farm("device", "show", "a", "--plot", "chart.png")
    assert code == 0
    assert "Control networks, 2 rounds, within 0.0%: ▅▅" in out
    assert ": first; first seen." in out
    assert Path("chart.png").read_bytes().startswith(b"\x89PNG")
    shown = json.loads(farm("device", "show", "a", "--json")[1])["health"]
    assert [one["shift"] for one in shown["controls"]] == [None, 0.0]
    assert farm("device", "show", "a", "--plot", "chart.doc")[0] == 2


@pytest.mark.slow
def test_a_device_is_held_released_and_invalidated(farm):
    farm(*LAUNCH)
    assert farm("device", "quarantine", "a", "--reason", "its fan is broken")[0] == 0
    code, out, _ = farm(*LAUNCH)
    assert code == 1
    assert "a is in quarantine: its fan is broken. `farm device release a`" in out
    assert "its fan is broken" in farm("device", "show", "a")[1]
    assert json.loads(farm(*LAUNCH, "--json")[1])["quarantined"] == {"a": "its fan is broken"}
    assert json.loads(farm("device", "release", "a", "--json")[1])["released"]
    assert "in no quarantine" in farm("device", "release", "a")[1]
    code, out, _ = farm("campaign", "resume", "c2", "--executor", "inline")
    assert (code, "is done: 12 of 12" in out) == (0, True)
    code, _, err = farm("device", "retire", "a")
    assert (code, "pass --yes" in err) == (2, True)
    # Two campaigns of 12 in two batches, and two control networks with each of those.
    assert json.loads(farm("device", "retire", "a", "--yes", "--json")[1])["invalidated"] == 32
    assert "0 of 12" in farm("campaign", "list")[1]


def test_a_device_that_drifted_says_so_and_the_campaign_ends_well(farm):
    ill = "disturb: slow, disturb_after: 5"
    text = FAKES.replace(
        'a: {kind: "tests.fakes:FakeAgent"', f'a: {{kind: "tests.fakes:FakeAgent", {ill}'
    )
    Path("cluster.yaml").write_text(f"controls: {{every: 8, pause_s: 0}}\n{text}")
    code, out, _ = farm(*LAUNCH[:4], "30", *LAUNCH[5:])
    assert code == 0, out
    shown = json.loads(farm("device", "show", "a", "--json")[1])["health"]
    assert shown["quarantine"] is None
    (stretch,) = shown["stretches"]
    assert stretch["shift"] > 0.2
    text = farm("device", "show", "a")[1]
    assert "a drifted by +30%." in text
    assert f"Its baseline is made of {shown['baseline_rounds']} rounds, and" in text
    assert farm("device", "show", "a", "--plot", "chart.svg")[0] == 0


def test_devices_of_another_space_are_examined_with_its_networks(farm, monkeypatch):
    real = FakeAgent.facts
    monkeypatch.setattr(FakeAgent, "facts", lambda self: replace(real(self), space="fbnet32"))
    said = json.loads(farm("device", "check", "a", "--load-seconds", "0.1", "--json")[1])
    assert len(said["latency_s"]) == 2
    assert all(network.startswith("fbnet32/") for network in said["latency_s"])


def test_a_line_of_bars():
    assert sparkline([None, 0.02, -0.02, 0.001]) == "▅█▁▅"
    assert sparkline([0.1, 0.02])[0] == "█"
