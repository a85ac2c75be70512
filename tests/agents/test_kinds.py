"""The registry of kinds."""

from __future__ import annotations

import subprocess
import sys

import pytest

from agents import AGENTS, agent_class
from farm.core.errors import UnknownName
from tests.fakes import FakeAgent


@pytest.mark.parametrize("kind", AGENTS)
def test_every_kind_is_there(kind):
    assert isinstance(agent_class(kind).options.model_json_schema(), dict)


def test_a_kind_of_ones_own_is_named_by_its_class():
    assert agent_class("tests.fakes:FakeAgent") is FakeAgent


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("cpuu", "did you mean 'cpu'"),
        ("toaster", "known: cpu"),
        ("tests.fakes:Fake", "no attribute 'Fake'"),
        ("tests.nothing:Fake", "No module named 'tests.nothing'"),
        ("", "known: cpu"),
        (":", "known: cpu"),
    ],
)
def test_an_unknown_kind_is_told_what_is_known(kind, says):
    with pytest.raises(UnknownName, match=says):
        agent_class(kind)


def test_the_agents_cost_no_tvm():
    heavy = "{'tvm', 'tvm_ffi', 'torch', 'ray', 'onnx'} & set(sys.modules)"
    code = f"import sys, agents.cpu, agents.gpu, agents.replay; sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
