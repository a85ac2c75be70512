"""What runs on the same core as a network is seen, and waited out."""

from __future__ import annotations

import pytest

from agents.on_device import core as core_module
from agents.on_device.core import CoreProbe, are_one, on_own_core, tell_shared

OWN_US, SHARED_US = 3.0, 7.0


@pytest.fixture
def scripted(monkeypatch):
    """A probe that is told what each of its looks takes, in microseconds."""

    def probe(*looks_us: float) -> CoreProbe:
        edges_s = [0.0]
        for look_us in looks_us:
            edges_s += [edges_s[-1], edges_s[-1] + 1e-6 * look_us]
        monkeypatch.setattr(core_module.time, "perf_counter", iter(edges_s[1:]).__next__)
        monkeypatch.setattr(core_module, "clock_probe_s", lambda: 1e-6)
        return CoreProbe()

    return probe


def looked(core: CoreProbe, samples: int) -> list[bool]:
    for _ in range(samples):
        core.look()
    return list(map(core.shared, core.looks()))


def taken(sample, core: CoreProbe, least: int):
    """A block as it is told."""
    block = on_own_core(sample, core, least)
    tell_shared(block, core)
    return block


def test_a_sample_shares_its_core_if_a_look_before_or_after_it_is_slow(scripted):
    core = scripted(OWN_US, OWN_US * 1.2, SHARED_US, OWN_US, OWN_US)
    assert looked(core, 4) == [False, True, True, False]
    assert core.fastest == pytest.approx(OWN_US)


def test_how_fast_a_core_is_by_itself_is_known_from_before(scripted):
    core = scripted(*[OWN_US] * 6, *[SHARED_US] * 3)
    for _ in range(2):
        assert looked(core, 2) == [False, False]
    assert looked(core, 2) == [True, True]


def test_what_was_thought_to_be_a_core_by_itself_is_told_anew_at_the_end(scripted):
    core = scripted(*looks(4, True, False, False))
    first = on_own_core(Taking(4), core, 2)
    for _ in range(2):
        assert taken(Taking(4), core, 2)["shared"] == [False] * 4
    tell_shared(first, core)
    assert first["shared"] == [True] * 4


def test_a_slower_clock_is_no_company(scripted, monkeypatch):
    core = scripted(*[OWN_US] * 6, *[2 * OWN_US] * 6, *[2 * SHARED_US] * 3)
    for _ in range(2):
        assert looked(core, 2) == [False, False]
    monkeypatch.setattr(core_module, "clock_probe_s", lambda: 2e-6)
    assert looked(core, 2) == [True, True]  # while it changes, nobody knows
    assert looked(core, 2) == [False, False]
    assert looked(core, 2) == [True, True]


def test_a_probe_of_the_clock_that_was_interrupted_makes_no_look_faster(scripted, monkeypatch):
    core = scripted(*[OWN_US] * 15)
    assert looked(core, 2) == [False, False]
    for interrupted in (True, False, True, True):
        clock_s = 2e-6 if interrupted else 1e-6
        monkeypatch.setattr(core_module, "clock_probe_s", lambda clock_s=clock_s: clock_s)
        assert looked(core, 2) == [False, False]
    assert core.fastest == pytest.approx(OWN_US)


class Taking:
    """Takes blocks of samples, each a number that says which it is."""

    def __init__(self, count: int) -> None:
        self.count, self.taken = count, 0

    def __call__(self, before) -> list[float]:
        for _ in range(self.count):
            before()
        self.taken += self.count
        return [float(i) for i in range(self.taken - self.count, self.taken)]


def looks(count: int, *busy: bool) -> list[float]:
    """Of blocks of so many samples, each with its core busy or not."""
    return [SHARED_US if one else OWN_US for one in busy for _ in range(count + 1)]


def test_a_block_goes_on_until_some_samples_had_the_core_to_themselves(scripted):
    core = scripted(*looks(4, False, False, True, True, False))
    taking = Taking(4)
    for _ in range(2):
        taken(taking, core, 2)
    block = taken(taking, core, 2)
    assert block["samples_s"] == [8, 9, 10, 11, 16, 17]
    assert block["shared"] == [True] * 4 + [False] * 2
    assert block["core_probe"] == pytest.approx(OWN_US)


def test_a_block_does_not_go_on_for_ever_nor_for_slow_networks(scripted):
    core = scripted(*looks(4, False, False, *[True] * 4), *looks(2, True))
    taking, slow = Taking(4), Taking(2)
    for _ in range(2):
        taken(taking, core, 2)
    assert taken(taking, core, 2)["shared"] == [True] * 4
    assert taken(slow, core, 2)["shared"] == [True] * 2
    assert (taking.taken, slow.taken) == (24, 2)


@pytest.mark.parametrize(
    ("cores", "told", "one"),
    [
        ([0, 1], {0: "0,4", 1: "1,5"}, False),
        ([0, 4], {0: "0,4", 4: "0,4"}, True),
        ([2, 3], {2: "2-3", 3: "2-3"}, True),
        ([0, 1], {}, False),
        ([0], {0: "0-1"}, False),
    ],
)
def test_cores_are_one_if_the_host_says_so(monkeypatch, cores, told, one):
    def read_text(path) -> str:
        number = int(path.parts[5].removeprefix("cpu"))
        if number not in told:
            raise FileNotFoundError(path)
        return told[number] + "\n"

    monkeypatch.setattr(core_module.Path, "read_text", read_text)
    assert are_one(cores) is one
