"""Decisions, over every executor: the inline one and Ray."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from farm.campaign.planning import Launch
from farm.compile.artifacts import ArtifactStore
from farm.core.values import Network
from farm.execution.inline import InlineExecutor
from farm.execution.protocol import Decided, Executor
from farm.farm import Farm
from farm.prediction.decisions import Decision, Learnt, Question

EXECUTORS = ["inline", pytest.param("ray", marks=pytest.mark.slow)]

QUESTION = Question("c1", "a", 1)
ANSWER = Decision("a", (Network("nb201", "x"),), "as the test wants it", Learnt(0, None, None))


class Stub:
    """Answers; or first does what the test wants, as often as `file` has no such line yet."""

    def __init__(self, fault: Callable[[], None] | None, file: Path, times: int) -> None:
        self._fault, self._file, self._times = fault, file, times

    def decide(self, question: Question) -> Decision:
        assert question == QUESTION
        done = len(self._file.read_text()) if self._file.exists() else 0
        if self._fault is not None and done < self._times:
            self._file.write_text("x" * (done + 1))
            self._fault()
        return ANSWER

    def close(self) -> None:
        pass


def broken() -> None:
    raise ArithmeticError("it does not fit")


def die() -> None:
    os._exit(1)


def make(fault: Callable[[], None] | None, file: Path, times: int) -> Stub:
    return Stub(fault, file, times)


@pytest.fixture(params=EXECUTORS)
def started(request, tmp_path: Path) -> Iterator[Callable[..., Executor]]:
    """Starts an executor without devices, whose decider has a fault so many times."""
    running: list[Executor] = []

    def start(fault: Callable[[], None] | None = None, times: int = 0) -> Executor:
        maker = partial(make, fault, tmp_path / "done", times)
        artifacts = ArtifactStore(tmp_path / "artifacts")
        if request.param == "inline":
            executor: Executor = InlineExecutor([], artifacts, maker)  # type: ignore[arg-type]
        else:
            from farm.execution.on_ray import RayExecutor

            executor = RayExecutor([], artifacts, None, None, maker)  # type: ignore[arg-type]
        running.append(executor.__enter__())
        return executor

    yield start
    for executor in running:
        executor.__exit__(None, None, None)


def answer(executor: Executor) -> Decided:
    executor.decide(QUESTION)
    for _ in range(600):
        for ended in executor.wait(0.5):
            assert isinstance(ended, Decided)
            return ended
    raise AssertionError("no answer")


def test_a_question_is_answered(started) -> None:
    executor = started()
    assert answer(executor) == Decided(QUESTION, ANSWER)
    assert answer(executor) == Decided(QUESTION, ANSWER)


def test_what_goes_wrong_is_said_and_may_go_right_the_next_time(started) -> None:
    executor = started(broken, 1)
    assert answer(executor).outcome == "ArithmeticError: it does not fit"
    assert answer(executor).outcome == ANSWER


@pytest.mark.slow
@pytest.mark.parametrize("started", ["ray"], indirect=True)
def test_a_predictor_that_dies_is_made_again_and_asked_again(started) -> None:
    assert answer(started(die, 2)).outcome == ANSWER


@pytest.mark.slow
@pytest.mark.parametrize("started", ["ray"], indirect=True)
def test_one_that_always_dies_is_said_to_have_died(started) -> None:
    assert "the central predictor died" in str(answer(started(die, 1000)).outcome)


FARM = """\
devices:
  a: {kind: "tests.fakes:FakeAgent", slow_s: 0.05}
"""


def test_a_campaign_goes_on_without_decisions(tmp_path: Path, monkeypatch) -> None:
    """In the seed's order, which is said once."""
    from farm.prediction.decider import Decider

    def refuse(*_: object) -> None:
        raise ArithmeticError("it does not fit")

    monkeypatch.setattr(Decider, "decide", refuse)
    (tmp_path / "cluster.yaml").write_text(FARM)
    events: list[str] = []
    asked = Launch(space="nb201", devices=["a"], budget=5, holdout=1)
    farm = Farm.open(tmp_path / "cluster.yaml")
    summary = farm.launch(asked, "inline", lambda p: events.extend(p.events))
    assert summary.counts == {"a": (6, 0)}
    said = [event for event in events if "it does not fit" in event]
    assert said == [
        "a: networks are taken in the seed's order, as nothing can be decided: "
        "ArithmeticError: it does not fit"
    ]


@pytest.mark.slow
def test_a_campaign_loses_nothing_when_its_predictor_is_killed(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(FARM)
    killed: list[int] = []

    def kill(progress: object) -> None:  # noqa: ARG001
        for process in psutil.Process().children(recursive=True):
            mine = "PredictorActor" in " ".join(process.cmdline())
            if mine and len(killed) < 2 and process.pid not in killed:
                killed.append(process.pid)
                process.kill()

    asked = Launch(space="nb201", devices=["a"], budget=20, holdout=2)
    farm = Farm.open(tmp_path / "cluster.yaml")
    summary = farm.launch(asked, "ray", kill)
    assert len(killed) == 2
    assert summary.campaign.state == "done"
    assert summary.counts == {"a": (22, 0)}
    with farm.store() as store:
        requests = store.requests("c1")
        assert len({(r.network, r.device) for r in requests}) == len(requests) == 22
