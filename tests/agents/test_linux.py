"""Reading the files of hosts of several kinds."""

from __future__ import annotations

import os
import time

import psutil
import pytest

from agents import linux
from agents.on_device.timing import Telemetry, read_files

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

FILES = {
    "/proc/loadavg": "0.52 0.40 0.30 1/100 4242",
    "/sys/class/thermal/thermal_zone0/temp": "41000",
    "/sys/class/thermal/thermal_zone1/temp": "52500",
    "/sys/class/thermal/thermal_zone2/temp": "out of order",
    f"{CPUS}/cpu1/cpufreq/scaling_cur_freq": "1500000",
    f"{CPUS}/cpu1/thermal_throttle/core_throttle_count": "3",
}

BEFORE = {
    "time_s": 100.0,
    "utc_s": 1.8e9,
    "involuntary_switches": 7,
    "cpu_s": 1.0,
    "waited_s": 0.25,
    "steal_ticks": 500,
    "clock_probe_s": 5e-5,
    "files": FILES,
}

AFTER = {
    "time_s": 100.5,
    "utc_s": 1.8e9 + 0.5,
    "involuntary_switches": 9,
    "cpu_s": 1.5,
    "waited_s": 0.375,
    "steal_ticks": 525,
    "clock_probe_s": 4e-5,
    "files": {
        **FILES,
        "/sys/class/thermal/thermal_zone1/temp": "60000",
        f"{CPUS}/cpu1/cpufreq/scaling_cur_freq": "600000",
        f"{CPUS}/cpu1/thermal_throttle/core_throttle_count": "5",
        "/sys/devices/platform/soc/soc:firmware/get_throttled": "50005",
    },
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


@pytest.mark.parametrize(
    ("said", "who"), [("always [madvise] never", "madvise"), ("[always] madvise never", "always")]
)
def test_knows_who_gets_large_pages(said, who):
    files = {"/sys/kernel/mm/transparent_hugepage/enabled": said}
    assert linux.large_pages(files) == who
    assert linux.large_pages(PI4) is None


def test_invents_nothing_on_a_host_that_shows_nothing():
    assert (linux.cpu_model({}), linux.memory_bytes({}), linux.governor({}, [0])) == (None,) * 3
    assert linux.cpu_flags({}) == frozenset()
    assert linux.with_siblings({}, [1]) == (1,)
    nothing = {"files": {}, "clock_probe_s": 1.0, "waited_s": None}
    assert set(linux.telemetry(nothing, nothing)) == {"clock_probe_s"}


def test_a_telemetry_has_states_and_what_counters_rose_by():
    assert linux.telemetry(BEFORE, AFTER) == pytest.approx(
        {
            "elapsed_s": 0.5,
            "utc_elapsed_s": 0.5,
            "cpu_s": 0.5,
            "waited_s": 0.125,
            "involuntary_switches": 2,
            "steal_s": 0.25,
            "clock_probe_s": 4e-5,
            "throttles": 2,
            "temp_c": 60.0,
            "clock_hz": 6e8,
            "load1": 0.52,
            "throttled": 0x5,
        }
    )


def test_a_sensor_that_vanishes_is_left_out_from_then_on():
    gone = {path: text for path, text in FILES.items() if "thermal" not in path}
    found = linux.telemetry(BEFORE, {**AFTER, "files": gone})
    assert not {"temp_c", "throttles"} & set(found)


@pytest.mark.parametrize("lie", ["0", "-274000", "6553500"])
def test_a_sensor_that_lies_is_counted_and_not_believed(lie):
    files = {**FILES, "/sys/class/thermal/thermal_zone1/temp": lie}
    found = linux.telemetry(BEFORE, {**AFTER, "files": files})
    assert (found["temp_c"], found["temp_implausible"]) == (41.0, 1)


def test_facts_agree_with_psutil_on_this_host():
    files = read_files(linux.FACT_FILES)
    assert linux.memory_bytes(files) == psutil.virtual_memory().total
    every = range(psutil.cpu_count())
    physical = {linux.with_siblings(files, [cpu]) for cpu in every}
    assert len(physical) == psutil.cpu_count(logical=False)
    assert sorted(cpu for siblings in physical for cpu in siblings) == list(every)


def test_telemetry_agrees_with_psutil_on_this_host():
    def taken_s() -> tuple[float, float]:
        own = psutil.Process().cpu_times()
        return own.user + own.system, psutil.cpu_times(percpu=True)[0].steal

    def kept_busy() -> None:
        end_s = time.process_time() + 0.1
        while time.process_time() < end_s:
            pass

    telemetry = Telemetry(linux.telemetry_files([0]), [0])
    outer = taken_s()
    before = telemetry.reading()
    inner = taken_s()
    kept_busy()
    least = [now - then for now, then in zip(taken_s(), inner, strict=True)]
    after = telemetry.reading()
    most = [now - then for now, then in zip(taken_s(), outer, strict=True)]
    found = linux.telemetry(before, after)
    tick_s = 1.5 / os.sysconf("SC_CLK_TCK")  # what psutil counts in, and a rounding
    for name, low_s, high_s in zip(("cpu_s", "steal_s"), least, most, strict=True):
        assert low_s - tick_s <= found[name] <= high_s + tick_s, name
    assert found["cpu_s"] > 0.09
    assert found["load1"] == pytest.approx(os.getloadavg()[0], abs=0.5)
    own = psutil.cpu_times(percpu=True)[0].steal * os.sysconf("SC_CLK_TCK")
    assert after["steal_ticks"] == pytest.approx(own, abs=50)


@pytest.mark.parametrize(
    ("text", "cpus"), [("0", [0]), ("0-2,5", [0, 1, 2, 5]), ("7,3-4", [7, 3, 4]), ("", [])]
)
def test_parses_the_kernels_lists(text, cpus):
    assert linux.parse_cpu_list(text) == cpus
    assert linux.parse_cpu_list(linux.format_cpu_list(cpus)) == sorted(cpus)
