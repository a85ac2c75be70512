"""What is found of a computer, in folders that look like its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from farm.campaign import machine


def tree(root: Path, **files: str) -> Path:
    """Files below a root; in their names `__` stands for `/`."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, None),
        ({"proc__self__cgroup": "0::/\n", "sys__fs__cgroup__cpu.max": "max 100000\n"}, None),
        ({"proc__self__cgroup": "0::/\n", "sys__fs__cgroup__cpu.max": "50000 100000\n"}, 0.5),
        (  # a limit of a group above holds, too
            {
                "proc__self__cgroup": "0::/a/b\n",
                "sys__fs__cgroup__a__cpu.max": "150000 100000\n",
                "sys__fs__cgroup__a__b__cpu.max": "300000 100000\n",
            },
            1.5,
        ),
        (  # in a container, the path is that of the host, and the limit at the top
            {"proc__self__cgroup": "0::/docker/1f\n", "sys__fs__cgroup__cpu.max": "70000 100000"},
            0.7,
        ),
        (
            {
                "proc__self__cgroup": "3:cpuset:/\n2:cpu,cpuacct:/x\n0::/\n",
                "sys__fs__cgroup__cpu,cpuacct__x__cpu.cfs_quota_us": "25000\n",
                "sys__fs__cgroup__cpu,cpuacct__x__cpu.cfs_period_us": "100000\n",
            },
            0.25,
        ),
        (
            {
                "proc__self__cgroup": "1:cpu:/\n",
                "sys__fs__cgroup__cpu__cpu.cfs_quota_us": "-1\n",
                "sys__fs__cgroup__cpu__cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
)
def test_the_least_limit_of_all_control_groups_is_the_quota(tmp_path, files, found):
    assert machine.quota(tree(tmp_path, **files)) == found


def test_hyper_threads_share_a_core(tmp_path):
    name = "sys__devices__system__cpu__cpu{}__topology__thread_siblings_list"
    told = {name.format(core): "0,2" if core in (0, 2) else str(core) for core in range(4)}
    root = tree(tmp_path, **told)
    assert [machine.cores_apart(c, root) for c in ((0, 2), (0, 1), range(4))] == [1, 2, 3]
    assert machine.cores_apart((0, 9), root) == 2  # nothing is said of the ninth


@pytest.mark.parametrize(
    ("supplies", "found"),
    [
        ({}, False),
        ({"BAT0": ("Battery", "", "Discharging"), "AC": ("Mains", "0", "")}, True),
        ({"BAT0": ("Battery", "", "Charging"), "AC": ("Mains", "1", "")}, False),
        ({"BAT0": ("Battery", "", "Discharging"), "usb": ("USB", "1", "")}, False),
        ({"AC": ("Mains", "1", "")}, False),
    ],
)
def test_a_battery_that_is_lived_on_is_seen(tmp_path, supplies, found):
    for name, values in supplies.items():
        for key, value in zip(("type", "online", "status"), values, strict=True):
            if value:
                tree(tmp_path, **{f"sys__class__power_supply__{name}__{key}": f"{value}\n"})
    assert machine.on_battery(tmp_path) == found


def test_this_computer_is_looked_at_and_left_as_it_was(monkeypatch):
    monkeypatch.setattr(machine, "_WATCHED_S", 0.01)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    found = machine.look()
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    assert 1 <= found.apart <= len(found.cores)
    assert 0 < found.usable <= len(found.cores)
    assert found.busy >= 0
