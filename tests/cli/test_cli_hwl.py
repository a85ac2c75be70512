"""`farm hwl` where there is little to say, or something to beware of."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from farm.store import Store
from tests.conftest import FAKES

CELL = "nb201/|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
LLVM = "{kind: llvm, mtriple: x86_64-linux-gnu, mcpu: x86-64}"
BUILT = f"""\
store: results
references: [a]
devices:
  a: {{kind: "tests.fakes:FakeAgent", target: {LLVM}}}
"""


def test_devices_in_quarantine_are_not_waited_for(farm):
    with Store(Path("results")) as store:
        for name in "ab":
            store.quarantine(name, "hot", manual=name == "a")
    started_s = time.monotonic()
    code, out, err = farm("hwl", CELL, "--json")
    assert time.monotonic() - started_s < 20  # a pause before a recheck alone is 30 s
    assert (code, json.loads(out)["mask"]) == (1, [False, False])
    assert "a: quarantined: hot; `farm device release a` trusts it again" in err
    assert len(err.splitlines()) == 1
    with Store(Path("results")) as store:
        assert store.pending(None) == []


def test_a_device_that_is_sent_to_quarantine_meanwhile_is_not_waited_for(farm):
    assert farm("launch", "--devices", "a", "--budget", "5", "--executor", "inline")[0] == 0
    ill = FAKES.replace('FakeAgent"}', 'FakeAgent", fault: crash}', 1)
    Path("cluster.yaml").write_text(ill)
    started_s = time.monotonic()
    code, out, _ = farm("hwl", CELL, "--json")
    assert time.monotonic() - started_s < 25
    (first, second) = json.loads(out)["references"]
    assert first["reason"].startswith("quarantined: its control networks fail")
    assert (code, second["latency_s"] > 0) == (0, True)


def test_one_missing_reference_is_named_and_no_failure(farm):
    with Store(Path("results")) as store:
        store.quarantine("a", "hot", manual=True)
    code, out, _ = farm("hwl", CELL)
    assert code == 0
    assert "a: quarantined: hot" in out
    code, out, _ = farm("hwl", CELL, "--json")
    assert (code, json.loads(out)["mask"]) == (0, [False, True])


@pytest.mark.slow
def test_a_build_that_fails_ends_the_query(farm, monkeypatch):
    def refuse(*_):
        raise ZeroDivisionError("as the test wants it")

    Path("cluster.yaml").write_text(BUILT)
    monkeypatch.setattr("farm.compile.build.link", refuse)
    code, out, err = farm("hwl", CELL, "--json")
    assert code == 1
    assert json.loads(out)["mask"] == [False]
    assert "a: build: " in err
    assert "as the test wants it" in err
    with Store(Path("results")) as store:
        assert store.controls("a", (), 0, 0) == []


def test_a_verdict_is_said_wherever_a_latency_is(farm):
    spiky = FAKES.replace('FakeAgent"}', 'FakeAgent", disturb: busy, controls: {every: 0}}', 1)
    Path("cluster.yaml").write_text(spiky)
    code, out, _ = farm("hwl", CELL, "--json")
    assert code == 0
    assert [r["verdict"] for r in json.loads(out)["references"]] == ["contended", "ok"]
    assert "contended" in farm("hwl", CELL, "--measure", "never")[1]
    for _ in range(2):
        assert farm("launch", "--devices", "a", "--budget", "5", "--executor", "inline")[0] == 0
    changes = json.loads(farm("compare", "c1", "c2", "--json")[1])["networks"]
    assert {(c["first_verdict"], c["second_verdict"]) for c in changes} == {("contended",) * 2}
