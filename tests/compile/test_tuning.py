"""Schedules that were measured: candidates compute the same, choices travel in the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest

from agents.pipes import local_runner
from farm.compile import check, fuse, graph, tuning
from farm.compile import target as targets
from farm.compile.alone import artifact, name_of
from farm.compile.artifacts import ArtifactStore
from farm.compile.build import build, build_key
from farm.compile.compiler import compiler
from farm.compile.groups import Group, Schedule, Step, Window
from farm.compile.kernel_cache import KernelCache
from farm.compile.prepare import prepared
from farm.core.errors import BuildError
from farm.core.values import Artifact
from tests.compile.conftest import conv_model

GROUP = Group(
    "Conv",
    ((1, 16, 14, 14), (6, 16, 3, 3, 4), (24,)),
    (1, 24, 14, 14),
    (Step("Add", 2, "channel"), Step("Relu")),
    Window((3, 3), (1, 1), (1, 1, 1, 1)),
    weight_block=4,
)
RULE, FAST, SLOW = (Schedule(1, 4, n) for n in (1, 2, 3))


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> KernelCache:
    return KernelCache(tmp_path_factory.mktemp("kernels"))


def last_is_fastest(group: Group, target: Any) -> tuple[tuning.Measure, list[Schedule]]:
    """Measures as if every candidate were faster than those before it."""
    candidates = list(compiler().schedules(group, target))
    seconds: dict[Path, float] = {}

    def measure(alone: Sequence[Artifact]) -> list[float]:
        return [seconds.setdefault(a.library, 1.0 / (1 + len(seconds))) for a in alone]

    return measure, candidates


@pytest.mark.slow
def test_every_candidate_computes_the_same(
    host_target: dict[str, Any], store: ArtifactStore, kernels: KernelCache
) -> None:
    candidates = compiler().schedules(GROUP, host_target)
    assert len(set(candidates)) == len(candidates) > 3
    outputs = []
    with local_runner() as runner:
        for schedule in candidates:
            group = replace(GROUP, schedule=schedule)
            alone = artifact(group, host_target, store, kernels)
            outputs.append(check.outputs(alone.library, alone.program, runner)[0])
    assert len({artifact.read_bytes() for artifact in store.root.glob("??/*/network.so")}) > 1
    assert max(outputs[0]) > 0
    for output in outputs:
        assert output == pytest.approx(outputs[0], rel=1e-5)


@pytest.mark.parametrize(
    ("rule_s", "other_s", "chosen"),
    [
        ((1.0, 1.0), (0.9, 0.9), FAST),
        ((1.0, 1.0), (0.98, 0.98), RULE),
        ((1.0, 1.0), (0.9, 1.1), RULE),
        ((1.0, 1.0), (1.1, 0.9), RULE),
        ((2.0, 2.0, 1.0, 1.0), (0.5, 0.9, 1.5, 1.5), FAST),
    ],
)
def test_a_candidate_must_be_faster_in_both_halves(
    rule_s: tuple[float, ...], other_s: tuple[float, ...], chosen: Schedule
) -> None:
    samples = {RULE: rule_s, FAST: other_s, SLOW: tuple(3.0 for _ in rule_s)}
    assert tuning.choose(samples) == chosen


@pytest.mark.slow
def test_what_was_chosen_is_in_every_key(
    host_target: dict[str, Any], store: ArtifactStore, kernels: KernelCache
) -> None:
    """The tuned network is another artifact, of another kernel, and still right."""
    model = conv_model(channels=8, size=16)
    (group,) = (c.kernel for c in fuse.plan(graph.read(prepared(model))).calls)
    assert isinstance(group, Group)
    measure, candidates = last_is_fastest(group, host_target)
    (choice,) = tuning.tune([group, group], host_target, measure, store, kernels)
    assert choice.chosen == candidates[-1]
    assert choice.gain == pytest.approx(1 - 1 / len(candidates))
    assert {len(seconds) for seconds in choice.samples_s.values()} == {tuning.PASSES}
    tuned = tuning.tuned_target(host_target, [choice])
    assert tuning.tuned_target(tuned, [choice]) == tuned
    assert targets.untuned(tuned) == host_target
    assert build_key(model, tuned) != build_key(model, host_target)
    before = set(kernels.root.glob("??/*/kernel.o"))
    first, second = (build(model, target, store, kernels) for target in (host_target, tuned))
    assert first.sha256 != second.sha256
    assert len(set(kernels.root.glob("??/*/kernel.o")) - before) == 1  # the candidate's is reused


def test_the_choice_of_the_rule_needs_no_words(host_target: dict[str, Any]) -> None:
    choice = tuning.Choice(GROUP, {RULE: (1.0, 1.0), FAST: (1.0, 1.0)}, RULE)
    assert tuning.tuned_target(host_target, [choice]) == host_target
    assert choice.gain == 0
    assert choice.to_json()["chosen"] == astuple(RULE)


def test_search_spaces_are_tuned_one_by_one(host_target: dict[str, Any]) -> None:
    """What was chosen for other kernels stays; what was measured anew is replaced."""
    other = replace(GROUP, relu_input=True)
    samples = {RULE: (1.0, 1.0), FAST: (0.5, 0.5), SLOW: (2.0, 2.0)}
    first = tuning.tuned_target(host_target, [tuning.Choice(GROUP, samples, FAST)])
    both = tuning.tuned_target(first, [tuning.Choice(other, samples, SLOW)])
    assert both["schedules"] == {name_of(GROUP): [1, 4, 2], name_of(other): [1, 4, 3]}
    one = tuning.tuned_target(both, [tuning.Choice(GROUP, samples, RULE)])
    assert one["schedules"] == {name_of(other): [1, 4, 3]}
    assert tuning.tuned_target(one, [tuning.Choice(other, samples, RULE)]) == host_target


def test_tags_are_tuned_as_well() -> None:
    tag = "raspberry-pi/4b-aarch64"
    choice = tuning.Choice(GROUP, {RULE: (1.0, 1.0), FAST: (0.5, 0.5)}, FAST)
    tuned = tuning.tuned_target(tag, [choice])
    assert tuned == {"tag": tag, "schedules": {name_of(GROUP): [1, 4, 2]}}
    assert targets.untuned(tuned) == tag
    assert targets.canonical(tuned) != tag
    assert compiler().target(tuned) == compiler().target(tag)


def test_a_schedule_for_something_else_is_refused(
    host_target: dict[str, Any], store: ArtifactStore, kernels: KernelCache
) -> None:
    group = replace(GROUP, schedule=Schedule(5, 4, 4))
    with pytest.raises(BuildError, match="tune for it again"):
        artifact(group, host_target, store, kernels)


def test_what_has_one_schedule_is_not_measured(
    host_target: dict[str, Any], store: ArtifactStore, kernels: KernelCache
) -> None:
    shape = (1, 8, 4, 4)
    copy = Group("Copy", (shape,), shape, (Step("Relu"),))
    depthwise = replace(GROUP, operands=((1, 24, 14, 14), (24, 1, 3, 3)), groups=24, steps=())

    def measure(_: Sequence[Artifact]) -> list[float]:
        raise AssertionError("nothing to choose from")

    assert list(tuning.tune([copy, depthwise], host_target, measure, store, kernels)) == []
