"""Targets: derived from a CPU's flags, and refused in one line that names the mistake."""

from __future__ import annotations

from typing import Any

import pytest

from agents.cpu_target import cpu_target
from farm.compile import target as targets
from farm.core.errors import TargetError

V2 = {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}
V3 = V2 | {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"}
V4 = V3 | {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}


@pytest.mark.parametrize(
    ("flags", "mcpu"),
    [
        (set(), "x86-64"),
        (V2, "x86-64-v2"),
        (V3, "x86-64-v3"),
        (V4 | {"amx_tile"}, "x86-64-v4"),
        (V4 - {"fma"}, "x86-64-v2"),
    ],
)
def test_x86_64_levels(flags: set[str], mcpu: str) -> None:
    target = cpu_target("x86_64", flags)
    assert target["mcpu"] == mcpu
    assert targets.resolve(target).attrs["mcpu"] == mcpu


def test_aarch64() -> None:
    target = targets.resolve(cpu_target("aarch64", ()))
    assert target.attrs["mtriple"] == "aarch64-linux-gnu"
    with pytest.raises(ValueError, match="riscv64"):
        cpu_target("riscv64", ())


def test_the_host_runs_its_own_target(host_target: dict[str, Any]) -> None:
    assert targets.runs_here(targets.resolve(host_target))
    other = {"x86_64": "aarch64", "aarch64": "x86_64"}[host_target["mtriple"].split("-")[0]]
    assert not targets.runs_here(targets.resolve(cpu_target(other, ())))


def test_code_that_this_computer_lacks_instructions_for_does_not_run_here(
    host_target: dict[str, Any],
) -> None:
    """AMD's XOP was in CPUs of 2011 to 2017, SVE has never been in a x86-64 one."""
    lacked = {"x86_64": "+xop", "aarch64": "+sme"}[host_target["mtriple"].split("-")[0]]
    assert not targets.runs_here(targets.resolve({**host_target, "mattr": [lacked]}))


def test_canonical_names_the_same_target_alike() -> None:
    assert targets.canonical(
        {"mcpu": "x86-64-v3", "kind": "llvm", "mtriple": "x86_64-linux-gnu"}
    ) == ('{"kind":"llvm","mcpu":"x86-64-v3","mtriple":"x86_64-linux-gnu"}')
    assert targets.canonical("raspberry-pi/4b-aarch64") == "raspberry-pi/4b-aarch64"


X86 = {"kind": "llvm", "mtriple": "x86_64-linux-gnu"}


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("raspberry-pi/4b-aarch6", "raspberry-pi/4b-aarch64"),
        ("no/such-tag", "no/such-tag"),
        ({"kind": "lvm"}, "lvm"),
        ({"mcpu": "x86-64-v3"}, "kind"),
        ({**X86, "mcup": "x86-64-v3"}, "mcup"),
        ({**X86, "mcpu": "x86-64-v5"}, "x86-64-v4"),
        ({**X86, "mattr": ["+avx512g"]}, "avx512f"),
        ({**X86, "mattr": ["avx512f"]}, "avx512f"),
        ({"kind": "llvm", "mtriple": "x86-linux"}, "x86_64"),
        ({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "x86-64-v3"}, "aarch64"),
        (
            {**X86, "mcpu": "x86-64-v3", "mattr": ["+avx512f", "-avx512f"]},
            "both asks for 'avx512f'",
        ),
        ({**X86, "mcpu": "x86-64-v3", "mattr": ["-sse2"]}, "needs sse2"),
        ({**X86, "mcpu": "pentium4"}, "needs 64bit"),
        ({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mattr": ["-neon"]}, "needs neon"),
    ],
)
def test_a_wrong_target_is_refused(
    target: str | dict[str, Any], named: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TargetError) as caught:
        targets.resolve(target)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
