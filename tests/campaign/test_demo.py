"""What the demo does on machines of many kinds."""

from __future__ import annotations

import pytest

from farm.campaign.demo import devices_here, plan, told
from farm.campaign.machine import Machine
from farm.core.errors import UsageError
from farm.inventory.config import load

CPUS = {"cpu2": 2, "cpu1": 1}


def machine(cores: int, **others) -> Machine:
    return Machine(**{"cores": tuple(range(cores)), "apart": cores, **others})


@pytest.mark.parametrize(
    ("there", "why_not"),
    [
        (machine(2), None),
        (machine(2, busy=0.2), None),
        (machine(3, busy=1.0), None),
        (machine(16, busy=9.0), None),
        (machine(8, quota=3.0), None),
        (machine(1), "may use one core"),
        (machine(2, busy=0.9), "other programs keep 0.9 busy"),
        (machine(3, busy=2.5), "other programs keep 2.5 busy"),
        (machine(8, quota=1.5), "limits this process to 1.5"),
        (machine(2, quota=0.5), "limits this process to 0.5"),
        (machine(2, apart=1), "parts of one core"),
    ],
)
def test_two_threads_are_measured_where_they_can_be_had(there, why_not):
    found = plan(there, CPUS)
    if why_not is None:
        assert (dict(found.devices), found.left_out) == ({"cpu1": 1, "cpu2": 2}, {})
    else:
        assert dict(found.devices) == {"cpu1": 1}
        assert why_not in found.left_out["cpu2"]
        assert f"Not on cpu2: {found.left_out['cpu2']}." in told(there, found)


@pytest.mark.parametrize(
    ("there", "note"),
    [
        (machine(2, quota=0.5), "stops this process for 50% of the time"),
        (machine(1), "in turns"),
        (machine(2, priority=False), "Priority may not be raised"),
        (machine(2, battery=True), "on battery"),
    ],
)
def test_what_is_wanting_is_said_and_the_rest_done(there, note):
    found = plan(there, CPUS)
    assert any(note in sentence for sentence in told(there, found))
    assert found.launch.devices[0] == "cpu1"
    assert found.launch.budget >= 10
    assert found.launch.holdout >= 6


def test_a_machine_without_wants_gets_no_warning():
    assert plan(machine(4), CPUS).notes == ()
    assert told(machine(4), plan(machine(4), CPUS)) == [
        "This computer lets the farm use 4 cores.",
        "The demo measures 30 networks of NAS-Bench-201 on cpu1 (one thread) and "
        "cpu2 (2 threads): 20 to learn from, 10 to judge by.",
    ]


@pytest.mark.parametrize("cores", [1, 2, 64])
def test_it_promises_less_than_three_minutes(cores):
    assert plan(machine(cores), CPUS).seconds < 180


def test_a_quota_makes_it_smaller():
    whole, half = plan(machine(1), CPUS), plan(machine(1, quota=0.5), CPUS)
    assert half.budget + half.holdout < whole.budget + whole.holdout


def test_only_devices_of_this_computers_own_cores_are_chosen(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text(
        "devices:\n"
        "  one: {kind: cpu}\n"
        "  four: {kind: cpu, threads: 4}\n"
        "  pinned: {kind: cpu, cores: [0]}\n"
        "  fake: {kind: 'tests.fakes:FakeAgent'}\n"
    )
    config = load(path)
    assert devices_here(config) == {"one": 1, "four": 4}
    with pytest.raises(UsageError, match=r"kind: cpu.*cluster\.yaml"):
        plan(machine(4), {})
