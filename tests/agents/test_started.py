"""An agent's `with` block: started once at a time, and not at all where its start fails."""

from __future__ import annotations

import pytest

from agents.started import StartedAgent


class Flaky(StartedAgent):
    works = False

    def _start(self) -> None:
        if not self.works:
            raise OSError("no power")

    def use(self) -> str:
        self._must_be_started()
        return "used"


def test_a_failed_start_is_no_start():
    agent = Flaky("pi4")
    with pytest.raises(OSError, match="no power"), agent:
        pass
    with pytest.raises(RuntimeError, match="pi4 is not started; use it in a `with` block"):
        agent.use()
    agent.works = True
    with agent as started:
        assert started.use() == "used"


def test_a_second_start_names_the_way_out():
    agent = Flaky("pi4")
    agent.works = True
    says = "pi4 is started already; leave its `with` block first"
    with agent, pytest.raises(RuntimeError, match=says), agent:
        pass
