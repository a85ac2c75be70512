"""Reading the files of hosts of several kinds."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from agents import linux
from agents.runner import read_files

CPUS = "/sys/devices/system/cpu"

PI4 = {
    "/proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd crc32 cpuid\n"
    "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n"
    "processor\t: 1\nFeatures\t: fp\nCPU implementer\t: 0x41\n"
    "CPU part\t: 0xd08\n\nRevision\t: c03111\nModel\t\t: Raspberry Pi 4 Model B Rev 1.1",
    "/proc/meminfo": "MemTotal:        3884360 kB\nMemFree:         3000000 kB",
    f"{CPUS}/cpu0/cpufreq/scaling_governor": "ondemand",
    f"{CPUS}/cpu1/cpufreq/scaling_governor": "ondemand",
}

XEON = {
    "/proc/cpuinfo": "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) CPU\nmicrocode\t: 0x1\n"
    "power management:\nflags\t\t: fpu avx2 fma\n\nprocessor\t: 1\nmodel name\t: another",
    f"{CPUS}/cpu0/topology/thread_siblings_list": "0,4",
    f"{CPUS}/cpu1/topology/thread_siblings_list": "1,5",
    f"{CPUS}/cpu0/cpufreq/scaling_governor": "performance",
    f"{CPUS}/cpu1/cpufreq/scaling_governor": "powersave",
}

BEFORE = {
    "/proc/stat": "cpu  9 9 9 9 9 9 9 900 0 0\ncpu0 1 1 1 1 1 1 1 500 0 0\n"
    "cpu1 1 1 1 1 1 1 1 7 0 0\nintr 5",
    "/proc/loadavg": "0.52 0.40 0.30 1/100 4242",
    "/sys/class/thermal/thermal_zone0/temp": "41000",
    "/sys/class/thermal/thermal_zone1/temp": "52500",
    "/sys/class/thermal/thermal_zone2/temp": "out of order",
    f"{CPUS}/cpu1/cpufreq/scaling_cur_freq": "1500000",
    f"{CPUS}/cpu1/thermal_throttle/core_throttle_count": "3",
}

AFTER = {
    **BEFORE,
    "/proc/stat": "cpu0 1 1 1 1 1 1 1 900 0 0\ncpu1 1 1 1 1 1 1 1 32 0 0",
    "/sys/class/thermal/thermal_zone1/temp": "60000",
    f"{CPUS}/cpu1/cpufreq/scaling_cur_freq": "600000",
    f"{CPUS}/cpu1/thermal_throttle/core_throttle_count": "5",
}


def test_reads_an_arm_board():
    assert linux.cpu_model(PI4) == "ARM 0x41 0xd08"
    assert linux.cpu_flags(PI4) == {"fp", "asimd", "crc32", "cpuid"}
    assert linux.memory_bytes(PI4) == 3884360 * 1024
    assert linux.governor(PI4, [0, 1]) == "ondemand"
    assert linux.with_siblings(PI4, [3, 2]) == (2, 3)


def test_reads_an_x86_server():
    assert linux.cpu_model(XEON) == "Intel(R) Xeon(R) CPU"
    assert linux.cpu_flags(XEON) == {"fpu", "avx2", "fma"}
    assert linux.cpu_fields(XEON)["microcode"] == "0x1"
    assert linux.governor(XEON, [0]) == "performance"
    assert linux.governor(XEON, [0, 1]) == "performance, powersave"
    assert linux.with_siblings(XEON, [1]) == (1, 5)


def test_invents_nothing_on_a_host_that_shows_nothing():
    assert (linux.cpu_model({}), linux.memory_bytes({}), linux.governor({}, [0])) == (None,) * 3
    assert linux.cpu_flags({}) == frozenset()
    assert linux.with_siblings({}, [1]) == (1,)
    assert linux.witness({}, {}, [0, 1]) == {}


def test_a_witness_has_states_before_and_after_and_what_counters_rose_by():
    assert linux.witness(BEFORE, AFTER, [1]) == pytest.approx(
        {
            "temp_c_before": 52.5,
            "temp_c_after": 60.0,
            "clock_hz_before": 1.5e9,
            "clock_hz_after": 6e8,
            "load1_before": 0.52,
            "load1_after": 0.52,
            "steal_s": 0.25,
            "throttles": 2,
        }
    )


def test_a_sensor_that_vanishes_is_left_out_from_then_on():
    gone = {path: text for path, text in AFTER.items() if "thermal" not in path}
    found = linux.witness(BEFORE, gone, [1])
    assert "temp_c_before" in found
    assert not {"temp_c_after", "throttles"} & set(found)


def test_agrees_with_psutil_on_this_host():
    files = read_files([*linux.FACT_FILES, *linux.witness_files([0])])
    assert linux.memory_bytes(files) == psutil.virtual_memory().total
    assert 0 in linux.with_siblings(files, [0])
    assert linux.witness(files, files, [0])["steal_s"] == 0
    assert linux.witness(files, files, [0])["load1_after"] >= 0
    assert os.sysconf("SC_CLK_TCK") == round(1 / linux._TICK_S)
    assert Path("/proc/cpuinfo").read_text().strip().startswith(files["/proc/cpuinfo"][:100])


@pytest.mark.parametrize(
    ("text", "cpus"), [("0", [0]), ("0-2,5", [0, 1, 2, 5]), ("7,3-4", [7, 3, 4]), ("", [])]
)
def test_parses_the_kernels_lists(text, cpus):
    assert linux.parse_cpu_list(text) == cpus
    assert linux.parse_cpu_list(linux.format_cpu_list(cpus)) == sorted(cpus)
