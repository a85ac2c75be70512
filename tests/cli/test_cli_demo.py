"""`farm demo`: the first thing that a user sees, and what it says the second time."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from farm.campaign import demo as demos
from farm.campaign import machine
from farm.campaign.dispatch import Dispatcher
from farm.campaign.machine import Machine
from farm.cli import common

DEMO = ("demo", "--executor", "inline")


@pytest.fixture
def demo(farm, monkeypatch):
    """Runs the command on two idle cores; the devices are fakes."""
    monkeypatch.setattr(machine, "look", lambda: Machine((0, 1), apart=2))
    monkeypatch.setattr(demos, "devices_here", lambda _: {"a": 1, "b": 2})
    return farm


@pytest.mark.slow
def test_a_demo_ends_with_a_table_a_plot_and_commands_that_work(demo):
    code, out, err = demo(*DEMO)
    assert code == 0
    assert "This computer lets the farm use 2 cores." in err
    assert "a (one thread) and b (2 threads)" in err
    assert "Campaign c1 (nb201) is done: 60 of 60 measured" in out
    assert "All 60 latencies can be trusted" in out
    assert Path("demo-out/predicted.png").read_bytes().startswith(b"\x89PNG")
    commands = re.findall("^  farm (.*)$", out, flags=re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        words = shlex.split(command)
        executor = ("--executor", "inline") if words[0] == "launch" else ()
        assert demo(*words, *executor)[0] == 0, command


@pytest.mark.slow
def test_a_demo_that_was_done_is_shown_again(demo):
    first = json.loads(demo(*DEMO, "--json")[1])
    code, out, err = demo(*DEMO, "--json")
    assert code == 0
    assert "campaign c1 was done before; without the folder demo-out it begins anew" in err
    assert {**json.loads(out), "wall_s": 0} == {**first, "wall_s": 0}


@pytest.mark.slow
def test_a_demo_that_was_cut_short_goes_on(demo, monkeypatch):
    with monkeypatch.context() as killed:
        killed.setattr(Dispatcher, "work", lambda _: pytest.fail("as if it was killed"))
        with pytest.raises(pytest.fail.Exception):
            demo(*DEMO)
    code, out, err = demo(*DEMO)
    assert code == 0
    assert "The demo's campaign c1 goes on, with 0 of 60" in err
    assert "60 of 60 measured" in out


def test_a_printed_command_works_where_it_is_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "some where" / "bin" / "farm"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert common.program() == "'some where/bin/farm'"
    subprocess.run(common.program(), shell=True, check=True)
    monkeypatch.setenv("PATH", str(program.parent))
    assert common.program() == "farm"
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pytest"])
    assert common.program() == "farm"
