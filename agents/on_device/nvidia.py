"""What an NVIDIA driver says of a GPU; goes to the device together with
`agents/on_device/timing.py`.

Python 3.9 and the standard library: the driver's own libraries are called through ctypes. All of
it only reads: clocks, power limits and modes stay as they are.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Mapping
from ctypes import c_int, c_size_t, c_ulonglong
from pathlib import Path
from typing import Any

Json = dict[str, Any]

_OUT = object()
"""Stands for the pointer to what a function writes."""

_TEXT_BYTES = 96
"""Longer than any text that is read here; NVML's longest has as many (NVML_DEVICE_NAME_V2)."""

_ATTRIBUTES = {
    "capability_major": 75,
    "capability_minor": 76,
    "multiprocessors": 16,
    "l2_bytes": 38,
}
"""CUdevice_attribute (cuda.h)."""

_SETTINGS = {
    "persistence": ("nvmlDeviceGetPersistenceMode", (), 1.0),
    "power_limit_w": ("nvmlDeviceGetEnforcedPowerLimit", (), 1e-3),
    "max_clock_hz": ("nvmlDeviceGetMaxClockInfo", (1,), 1e6),
}
"""NVML's functions, what they take after the device, and the unit of what they say. Clocks are
those of the multiprocessors (1) and of the memory (2), nvmlClockType_t (nvml.h)."""

_STATES = {
    "clock_hz": ("nvmlDeviceGetClockInfo", (1,), 1e6),
    "memory_clock_hz": ("nvmlDeviceGetClockInfo", (2,), 1e6),
    "power_w": ("nvmlDeviceGetPowerUsage", (), 1e-3),
    "temp_c": ("nvmlDeviceGetTemperature", (0,), 1.0),
    "reasons": ("nvmlDeviceGetCurrentClocksThrottleReasons", (), 1),
}

_SLOWED = 0x04 | 0x08 | 0x20 | 0x40 | 0x80
"""nvmlClocksEventReasons (nvml.h) that are the GPU's state: power cap, slow-downs by hardware,
heat (software's and hardware's) and power brake. The others are idleness and settings."""


class NoGpu(Exception):
    """There is no such GPU here, or no driver that this process could use it by."""


class _Library:
    """A library whose functions return a status, 0 for success. Raises NoGpu for any other."""

    def __init__(self, path: str, what: str) -> None:
        self._what = what
        try:
            self._functions = ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
        except OSError as e:
            raise NoGpu(f"no {what} here ({e}); `nvidia-smi` must work before this can") from e

    def call(self, function: str, *arguments: Any) -> None:
        try:
            status = getattr(self._functions, function)(*arguments)
        except AttributeError as e:
            raise NoGpu(f"the {self._what} is too old, it has no {function}") from e
        if status != 0:
            raise NoGpu(f"the {self._what} answers {function} with error {status}")

    def read(self, kind: Any, function: str, *arguments: Any) -> Any:
        """What a function writes to where `_OUT` stands, of a ctypes type."""
        value = kind()
        self.call(function, *(ctypes.byref(value) if a is _OUT else a for a in arguments))
        return value.value

    def text(self, function: str, *arguments: Any) -> str:
        """The same for text, whose room follows the pointer."""
        room = (ctypes.create_string_buffer(_TEXT_BYTES), ctypes.c_uint(_TEXT_BYTES))
        self.call(function, *(b for a in arguments for b in (room if a is _OUT else (a,))))
        return room[0].value.decode(errors="replace")


def load_cuda(bundle: Path) -> None:
    """Maps CUDA's and TVM's runtime for CUDA. Comes after `timing.load_runtime`, and after a fork:
    no CUDA survives one. Raises NoGpu where they do not fit the driver."""
    driver = _cuda_version(_Library("libcuda.so.1", "NVIDIA driver"), "cuDriverGetVersion")
    path = next(bundle.glob("lib/libcudart.so.*"), bundle / "lib/libcudart.so")
    runtime = _cuda_version(_Library(str(path), "CUDA runtime"), "cudaRuntimeGetVersion")
    if runtime[0] > driver[0]:  # later minor versions go with any driver of the same major one
        raise NoGpu(
            f"the driver is for CUDA {_dotted(driver)} and this runtime is {_dotted(runtime)}; "
            "install a later NVIDIA driver"
        )
    _Library(str(bundle / "lib/libtvm_runtime_cuda.so"), "TVM runtime for CUDA")


def _cuda_version(library: _Library, function: str) -> tuple[int, int]:
    number = library.read(c_int, function, _OUT)
    return number // 1000, number % 1000 // 10


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


class Gpu:
    """A GPU of this host, by its number in CUDA's order. Raises NoGpu where there is none."""

    def __init__(self, index: int) -> None:
        self._cuda = _Library("libcuda.so.1", "NVIDIA driver")
        self._cuda.call("cuInit", 0)
        count = self._cuda.read(c_int, "cuDeviceGetCount", _OUT)
        if not 0 <= index < count:
            raise NoGpu(f"there is no GPU {index}, the driver shows {count}")
        self._device = self._cuda.read(c_int, "cuDeviceGet", _OUT, index)
        self._bus = self._cuda.text("cuDeviceGetPCIBusId", _OUT, self._device)
        self._nvml: Any = None
        with contextlib.suppress(NoGpu):  # a container may have no NVML, and compute all the same
            nvml = _Library("libnvidia-ml.so.1", "NVIDIA management library")
            nvml.call("nvmlInit_v2")
            by_bus = ("nvmlDeviceGetHandleByPciBusId_v2", self._bus.encode(), _OUT)
            self._handle = ctypes.c_void_p(nvml.read(ctypes.c_void_p, *by_bus))
            self._nvml = nvml

    def facts(self) -> Json:
        """name, capability such as `90`, cuda (what the driver is for), memory_bytes, and what
        else can be seen: driver, persistence, power_limit_w, max_clock_hz."""
        attributes = {
            name: self._cuda.read(c_int, "cuDeviceGetAttribute", _OUT, number, self._device)
            for name, number in _ATTRIBUTES.items()
        }
        capability = f"{attributes.pop('capability_major')}{attributes.pop('capability_minor')}"
        return {
            "name": self._cuda.text("cuDeviceGetName", _OUT, self._device),
            "capability": capability,
            "cuda": _dotted(_cuda_version(self._cuda, "cuDriverGetVersion")),
            "memory_bytes": self._cuda.read(c_size_t, "cuDeviceTotalMem_v2", _OUT, self._device),
            "bus": self._bus,
            **attributes,
            **self._driver(),
            **self._seen(_SETTINGS),
        }

    def reading(self) -> Json:
        """What changes, as far as it can be seen: clock_hz (of the multiprocessors),
        memory_clock_hz, power_w, temp_c; throttled: flags of why the clock is held down."""
        states = self._seen(_STATES)
        if "reasons" in states:
            states["throttled"] = states.pop("reasons") & _SLOWED
        return states

    def _seen(self, wanted: Mapping[str, tuple[str, tuple[int, ...], float]]) -> Json:
        """The values that NVML has: many GPUs, and all in some virtual machines, lack some."""
        found = {}
        for name, (function, arguments, unit) in wanted.items() if self._nvml else ():
            with contextlib.suppress(NoGpu):
                # Some functions write 32 bits: the upper half stays zero.
                number = self._nvml.read(c_ulonglong, function, self._handle, *arguments, _OUT)
                found[name] = number * unit
        return found

    def _driver(self) -> Json:
        with contextlib.suppress(NoGpu):
            if self._nvml:
                return {"driver": self._nvml.text("nvmlSystemGetDriverVersion", _OUT)}
        return {}
