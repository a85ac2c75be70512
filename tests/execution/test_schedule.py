"""The schedule: what it never allows, and that it gets everything done."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.execution.schedule import TURN, Place, Running, eta_s, housekeeping_cores, next_starts

CPU1 = Place("box", frozenset({1}))
CPU2 = Place("box", frozenset({0, 1}))
PI = Place("pi", frozenset())
SLOTS = [Place("box", frozenset({0})), Place("box", frozenset({1}))]


def starts(ready, builds=0, running=(), incumbents=None, devices=None):
    devices = devices or {"cpu1": CPU1, "cpu2": CPU2}
    return next_starts(devices, ready, builds, SLOTS, running, incumbents or {})


def test_builds_take_every_core_while_nothing_can_be_measured():
    assert starts({"cpu1": 0, "cpu2": 0}, builds=5).slots == tuple(SLOTS)


def test_no_more_builds_start_than_are_wanted():
    assert len(starts({}, builds=1).slots) == 1


def test_a_build_stays_off_the_cores_that_a_device_measures_on():
    decided = starts({"cpu1": 1, "cpu2": 0}, builds=5)
    assert decided.devices == ("cpu1",)
    assert decided.slots == (SLOTS[0],)


def test_devices_of_one_host_take_turns_even_on_other_cores():
    apart = {"a": Place("box", frozenset({0})), "b": Place("box", frozenset({1}))}
    assert starts({"a": 1, "b": 1}, devices=apart).devices == ("a",)
    running = [Running(apart["a"], "a")]
    assert starts({"a": 1, "b": 1}, running=running, devices=apart).devices == ()


def test_a_device_whose_cores_are_being_built_on_waits_and_keeps_them_free():
    running = [Running(SLOTS[0])]
    decided = starts({"cpu1": 0, "cpu2": 3}, builds=5, running=running)
    assert decided.devices == ()
    assert decided.slots == ()


def test_devices_of_other_hosts_and_without_cores_do_not_wait():
    devices = {"cpu2": CPU2, "pi": PI, "pi2": Place("box", frozenset())}
    decided = starts({"cpu2": 1, "pi": 1, "pi2": 1}, devices=devices)
    assert sorted(decided.devices) == ["cpu2", "pi", "pi2"]


def test_a_device_keeps_its_turn_until_another_has_much_more_to_do():
    mine = {"box": "cpu1"}
    assert starts({"cpu1": 1, "cpu2": TURN}, incumbents=mine).devices == ("cpu1",)
    assert starts({"cpu1": 1, "cpu2": TURN + 1}, incumbents=mine).devices == ("cpu2",)
    assert starts({"cpu1": 0, "cpu2": 1}, incumbents=mine).devices == ("cpu2",)


def test_housekeeping_goes_where_the_fewest_devices_measure():
    assert housekeeping_cores({0, 1}, [{1}, {0, 1}]) == {0}
    assert housekeeping_cores({0, 1, 2, 3}, [{3}, {2, 3}]) == {0, 1}
    assert housekeeping_cores({0, 1}, []) == {0, 1}


def test_time_left_is_unknown_before_anything_is_done():
    assert eta_s(10.0, 0, 5) is None
    assert eta_s(10.0, 5, 10) == 20.0


@dataclass
class Farm:
    """A simulated farm: builds make requests ready, measurements end them."""

    devices: dict[str, Place]
    slots: list[Place]
    unbuilt: int
    ready: dict[str, int]
    running: list[Running] = field(default_factory=list)
    incumbents: dict[str, str] = field(default_factory=dict)
    measured: int = 0

    def start(self):
        idle = {d: n for d, n in self.ready.items() if d not in {r.device for r in self.running}}
        in_build = sum(r.device is None for r in self.running)
        wanted = self.unbuilt - in_build
        decided = next_starts(self.devices, idle, wanted, self.slots, self.running, self.incumbents)
        for name in decided.devices:
            self.running.append(Running(self.devices[name], name))
            self.incumbents[self.devices[name].host] = name
        self.running += [Running(slot) for slot in decided.slots]

    def end(self, i):
        ended = self.running.pop(i)
        if ended.device is None:
            self.unbuilt -= 1
            for device in self.ready:
                self.ready[device] += 1
        else:
            self.ready[ended.device] -= 1
            self.measured += 1


def places(hosts):
    cores = st.frozensets(st.integers(0, 3), max_size=4)
    return st.builds(Place, st.sampled_from(hosts), cores)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.data())
def test_never_two_on_a_core_while_one_measures_and_everything_ends(data):
    names = data.draw(st.lists(st.sampled_from("abcd"), min_size=1, unique=True))
    devices = {name: data.draw(places(["x", "y"])) for name in names}
    slots = [Place("x", frozenset({core})) for core in range(4)]
    builds = data.draw(st.integers(0, 6))
    farm = Farm(devices, slots, builds, dict.fromkeys(names, 0))
    for _ in range(builds * (len(names) + 1)):
        farm.start()
        assert_apart(farm)
        assert farm.running, "work is left, but nothing goes on"
        farm.end(data.draw(st.integers(0, len(farm.running) - 1)))
    farm.start()
    assert not farm.running
    assert farm.measured == builds * len(names)


def assert_apart(farm):
    for i, one in enumerate(farm.running):
        for other in farm.running[:i]:
            if one.device is None and other.device is None:
                assert not one.place.overlaps(other.place)
            elif one.place.host == other.place.host and one.device and other.device:
                assert not (one.place.cores and other.place.cores), "two measure on one host"
            else:
                assert not one.place.overlaps(other.place)
