"""The kernel cache: object files by what they compute, shared by all processes of a farm.

    ROOT/ab/abcdef.../{kernel.o, manifest.json}

A key covers the fused group, the target, TVM's version and the sources that write kernels, so an
entry is never out of date. Entries are verified when read, and the least recently used ones go
when the cache is larger than its bound.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from farm.compile.artifacts import ArtifactStore
from farm.compile.content_store import ContentStore
from farm.compile.groups import Group, Operation, Shape
from farm.core.values import digest

DEFAULT_BOUND_BYTES = 2 << 30

_OBJECT = "kernel.o"
_SOURCES = (
    *("codegen", "generic.py", "groups.py", "lower.py", "target.py"),
    *(
        "decompose.py",
        "definitions.py",
        "fourier.py",
        "functions.py",
        "operations.py",
        "operator_parts.py",
    ),
    *("resampling.py", "resize.py"),
)
"""What of this package decides how a kernel is written."""


@dataclass(frozen=True)
class Buffer:
    """A tensor that the steps of a kernel share; a constant where it has data, in base64."""

    shape: Shape
    dtype: str
    data: str | None = None


@dataclass(frozen=True)
class Step:
    """A call of a symbol: operands are numbered first, then the output, then the buffers."""

    symbol: str
    arguments: tuple[int, ...]


@dataclass(frozen=True)
class Kernel:
    """Object code. Most kernels are one step; an operation that TVM splits up is several."""

    code: bytes
    steps: tuple[Step, ...]
    buffers: tuple[Buffer, ...] = ()


@dataclass(frozen=True)
class StoredKernel:
    """A kernel in the cache; `path` is its object file."""

    path: Path
    steps: tuple[Step, ...]
    buffers: tuple[Buffer, ...]


def kernel_key(kernel: Group | Operation, target: str) -> str:
    """64 hex digits; target: in canonical text."""
    what = kernel.signature if isinstance(kernel, Group) else sha256(kernel.model).hexdigest()
    return digest([what, target, _compiler_digest()])


class KernelCache:
    """Kernels on disk, by key. Safe to be shared by any number of processes, killed or not."""

    def __init__(self, root: Path | str, bound_bytes: int = DEFAULT_BOUND_BYTES) -> None:
        self.root = Path(root)
        self._entries = ContentStore(self.root)
        self._bound_bytes = bound_bytes

    def get(self, key: str) -> StoredKernel | None:
        """An intact kernel, which becomes the most recently used one."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.touch(key)
        facts = entry.facts
        steps = tuple(Step(s["symbol"], tuple(s["arguments"])) for s in facts["steps"])
        buffers = tuple(Buffer(**{**b, "shape": tuple(b["shape"])}) for b in facts["buffers"])
        return StoredKernel(entry.folder / _OBJECT, steps, buffers)

    def put(self, key: str, kernel: Kernel) -> None:
        """Raises StoreFull."""
        facts = {
            "steps": [asdict(step) for step in kernel.steps],
            "buffers": [asdict(buffer) for buffer in kernel.buffers],
        }
        self._entries.put(key, {_OBJECT: kernel.code}, facts)
        self._evict()

    @contextmanager
    def building(self, key: str) -> Iterator[None]:
        """Holds the right to build `key`, so that two processes never build the same kernel."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / key[:4]).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _evict(self) -> None:
        """Removes the least recently used kernels until the cache is within its bound."""
        entries = sorted(self._entries.sizes(), key=lambda entry: entry.used_at_s)
        excess = sum(entry.size_bytes for entry in entries) - self._bound_bytes
        for entry in entries:
            if excess <= 0:
                return
            self._entries.remove(entry.key)
            excess -= entry.size_bytes


@cache
def _compiler_digest() -> str:
    """Of everything but the group and the target that a kernel depends on."""
    folder = Path(__file__).parent
    files = [path for name in _SOURCES for path in _python_files(folder / name)]
    sources = [(str(p.relative_to(folder)), sha256(p.read_bytes()).hexdigest()) for p in files]
    return digest([version("apache-tvm"), version("apache-tvm-ffi"), sources])


def _python_files(path: Path) -> Sequence[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def kernel_cache(artifacts: ArtifactStore) -> KernelCache:
    """The kernels beside the artifacts: one cache for all compile actors of a computer."""
    return KernelCache(artifacts.root / "kernels")
