"""CPUs for the instruction clock: what is counted becomes seconds. Pure.

    seconds = (instructions / width + sum of misses x miss_cycles over the caches) / clock_hz

An ideal front end and exposed misses: no dependencies, no branch mispredictions, no prefetching.
A profile is like its CPU in what its caches hold and in how dear they are, and ranks networks as
such a CPU does; its seconds are no measurement of one.

Sources. Caches: Arm's Technical Reference Manuals DDI 0500 (A53), 100095 (A72), 100798 (A76), in
the sizes of the Raspberry Pi 3, 4 and 5 (BCM2837, BCM2711, BCM2712). Width: instructions that are
decoded in a cycle (the same manuals). Cycles: A53, Hennessy & Patterson, Computer Architecture,
6th edition, section 2.6: 13 for a miss in L1, 124 for one in L2, which is 103 ns at this clock.
The A72's L1 miss is charged as the A53's for want of a published figure. A76: load-to-use of 4, 9
and 26 cycles (WikiChip, "Cortex-A76"). Memory is 103 ns away from all three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from farm.core.values import Target

LINE_BYTES = 64


class Cache(BaseModel):
    """A data cache with lines of 64 bytes, the least recently used replaced.

    miss_cycles: what a miss costs beyond a hit here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kib: int = Field(ge=1, le=65536)
    ways: int = Field(ge=1, le=64)
    miss_cycles: float = Field(ge=0)

    @model_validator(mode="after")
    def _has_whole_sets(self) -> Cache:
        if self.kib * 1024 % (LINE_BYTES * self.ways):
            raise ValueError(f"`ways` must divide the {self.kib * 16} lines, got {self.ways}")
        return self


class Profile(BaseModel):
    """A CPU.

    cpu: as QEMU's `-cpu` and LLVM's `mcpu` name it.
    width: instructions in a cycle, where nothing holds them up.
    caches: the nearest first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    cpu: str = Field(pattern=r"^[a-z0-9.-]+$")
    clock_hz: float = Field(gt=0)
    width: float = Field(gt=0)
    caches: Annotated[tuple[Cache, ...], Field(strict=False, max_length=4)] = ()

    @property
    def target(self) -> Target:
        """What networks are compiled for."""
        return {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": self.cpu}


PROFILES: Mapping[str, Profile] = {
    "cortex-a53": Profile(
        cpu="cortex-a53",
        clock_hz=1.2e9,
        width=2,
        caches=(Cache(kib=32, ways=4, miss_cycles=13), Cache(kib=512, ways=16, miss_cycles=124)),
    ),
    "cortex-a72": Profile(
        cpu="cortex-a72",
        clock_hz=1.5e9,
        width=3,
        caches=(Cache(kib=32, ways=2, miss_cycles=13), Cache(kib=1024, ways=16, miss_cycles=155)),
    ),
    "cortex-a76": Profile(
        cpu="cortex-a76",
        clock_hz=2.4e9,
        width=4,
        caches=(
            Cache(kib=64, ways=4, miss_cycles=5),
            Cache(kib=512, ways=8, miss_cycles=17),
            Cache(kib=2048, ways=16, miss_cycles=248),
        ),
    ),
}
"""By the names of the cores; one thread, all caches for itself."""


@dataclass(frozen=True)
class Counts:
    """What one run of a network did. misses: of each cache, the nearest first."""

    instructions: int
    accesses: int
    misses: tuple[int, ...]

    @classmethod
    def from_words(cls, words: Sequence[int], caches: int) -> Counts:
        """words: as the plugin numbers them, from the instructions on."""
        return cls(words[0], words[1], tuple(words[2 : 2 + caches]))


def seconds(counts: Counts, profile: Profile) -> float:
    """The module's formula."""
    stalls = zip(counts.misses, profile.caches, strict=True)
    cycles = counts.instructions / profile.width
    return (cycles + sum(n * cache.miss_cycles for n, cache in stalls)) / profile.clock_hz
