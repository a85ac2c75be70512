"""The kernel cache: keys, bounds, damage, and several processes that want one kernel."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from farm.compile.groups import Group, Operation, Step, Window, from_json
from farm.compile.kernel_cache import Buffer, Kernel, KernelCache, kernel_key
from farm.compile.kernel_cache import Step as Call

GROUP = Group(
    "Conv",
    ((1, 8, 9, 9), (4, 8, 3, 3, 4), (16,)),
    (1, 16, 9, 9),
    (Step("Add", 2, "channel"), Step("Clip", constants=(0.0, 6.0))),
    Window((3, 3), (1, 1), (1, 1, 1, 1)),
    weight_block=4,
)
KERNEL = Kernel(b"code" * 250, (Call("k", (0, 1, 2)),), (Buffer((2, 3), "int64"),))


def key(number: int) -> str:
    return f"{number:064x}"


def test_returns_what_was_put(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path)
    assert cache.get(key(1)) is None
    cache.put(key(1), KERNEL)
    stored = KernelCache(tmp_path).get(key(1))
    assert stored is not None
    assert stored.path.read_bytes() == KERNEL.code
    assert (stored.steps, stored.buffers) == (KERNEL.steps, KERNEL.buffers)


def test_a_damaged_kernel_is_gone_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = KernelCache(tmp_path)
    cache.put(key(1), KERNEL)
    stored = cache.get(key(1))
    assert stored is not None
    stored.path.write_bytes(stored.path.read_bytes()[:-1] + b"X")
    with caplog.at_level(logging.WARNING):
        assert cache.get(key(1)) is None
    assert "damaged" in caplog.text


def test_the_least_recently_used_kernels_go(tmp_path: Path) -> None:
    one_bytes = _entry_bytes(tmp_path / "measure")
    cache = KernelCache(tmp_path / "cache", bound_bytes=3 * one_bytes + 100)
    for number in (1, 2, 3):
        cache.put(key(number), KERNEL)
        os.utime(tmp_path / "cache" / key(number)[:2] / key(number), (number, number))
    assert cache.get(key(1)) is not None
    cache.put(key(4), KERNEL)
    assert [n for n in (1, 2, 3, 4) if cache.get(key(n))] == [1, 3, 4]


def _entry_bytes(root: Path) -> int:
    KernelCache(root).put(key(1), KERNEL)
    return sum(path.stat().st_size for path in root.glob("??/*/*"))


def test_one_at_a_time_builds_a_kernel(tmp_path: Path) -> None:
    cache, events = KernelCache(tmp_path), []
    inside, release = threading.Event(), threading.Event()

    def first() -> None:
        with cache.building(key(1)):
            inside.set()
            assert release.wait(10)
            events.append("first")

    def second() -> None:
        with KernelCache(tmp_path).building(key(1)):
            events.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    with cache.building("ff" + key(2)[2:]):  # another kernel needs not wait
        release.set()
    for thread in threads:
        thread.join()
    assert events == ["first", "second"]


def test_keys_tell_kernels_apart() -> None:
    others = [
        replace(GROUP, steps=GROUP.steps[:1]),
        replace(GROUP, weight_block=1),
        replace(GROUP, relu_input=True),
        replace(GROUP, window=Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 2))),
        Operation(b"model", 1, "Sigmoid"),
    ]
    keys = {kernel_key(kernel, "target") for kernel in (GROUP, *others)}
    assert len(keys) == len(others) + 1
    assert kernel_key(GROUP, "target") == kernel_key(replace(GROUP), "target")
    assert kernel_key(GROUP, "another target") not in keys


def test_the_name_of_an_operation_is_no_part_of_its_key() -> None:
    a, b = Operation(b"model", 1, "Sigmoid 'a'"), Operation(b"model", 1, "Sigmoid 'b'")
    assert kernel_key(a, "target") == kernel_key(b, "target")


@pytest.mark.parametrize("kernel", [GROUP, Operation(bytes(range(256)), 2, "TopK")])
def test_kernels_survive_json(kernel: Group | Operation) -> None:
    assert from_json(kernel.to_json()) == kernel
