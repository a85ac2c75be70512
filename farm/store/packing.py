"""Samples as a few bytes: whole nanoseconds where they are that, else as they are; nothing is lost.

What is packed is compressed by zlib: the length of a JSON object and the object; then how many bits
each sample has. The bits below the highest are noise that no compressor makes less of, and follow
as they are. In nanoseconds, a sample is told for all its runs, and above the least of its part: a
block, or what comes of a warm-up with equal runs. In earlier rows, and where samples are seconds,
these are compressed with the object, the lowest bytes of all samples first.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from itertools import chain, groupby, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.measurement.record import Block
from farm.measurement.verdict import Rejection

_Array = NDArray[np.float64]
_Parts = list[tuple[int, int]]
"""Of each part, how often a sample ran the network, and how many samples it has."""


def packed(blocks: Sequence[Block], warmup_s: Sequence[Sequence[float]], sample_s: float) -> bytes:
    """The blocks of a measurement and the warm-up samples of its sessions.

    sample_s: as the measurement's spec has it.
    """
    warmups = [_parts(own_s, blocks, i, sample_s) for i, own_s in enumerate(warmup_s)]
    parts = [*chain(*warmups), *((b.runs_per_sample, len(b.samples_s)) for b in blocks)]
    samples_s = np.array([*chain(*warmup_s), *chain(*(block.samples_s for block in blocks))])
    least_ns, numbers = _numbers(samples_s, parts)
    head = {
        "warmups": [len(warmup) for warmup in warmups],
        "runs": [runs for runs, _ in parts],
        "samples": [count for _, count in parts],
        "least_ns": least_ns,
        "sessions": [block.session for block in blocks],
        "telemetry": _columns(blocks),
        "rejected": [b.rejected and [b.rejected.kind, b.rejected.reason] for b in blocks],
        "shared": [_mask(block.shared) for block in blocks],
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    plain = len(text).to_bytes(4, "little") + text
    if least_ns is None:
        return zlib.compress(plain + _by_place(numbers))
    lengths, noise = _by_bits(numbers)
    return zlib.compress(plain, 9) + zlib.compress(lengths, 9) + noise


def unpacked(data: bytes) -> tuple[tuple[Block, ...], tuple[tuple[float, ...], ...]]:
    """The blocks and the warm-up samples of `packed`. Raises ValueError for what is none."""
    plain, rest = _inflated(data)
    end = 4 + int.from_bytes(plain[:4], "little")
    head = json.loads(plain[4:end])
    if rest:
        numbers = _from_bits(*_inflated(rest))
    else:
        numbers = _from_places(plain[end:], "<f8" if head["least_ns"] is None else "<u4")
    parts = iter(_split(head, numbers))
    warmup_s = [tuple(chain(*islice(parts, count))) for count in head["warmups"]]
    return tuple(_blocks(head, list(parts))), tuple(warmup_s)


def _inflated(data: bytes) -> tuple[bytes, bytes]:
    """What was compressed, and what follows it."""
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(data)
    except zlib.error as e:
        raise ValueError(f"samples cannot be unpacked: {e}") from e
    if not stream.eof:
        raise ValueError("samples cannot be unpacked: they are cut short")
    return plain, stream.unused_data


def _blocks(head: dict[str, Any], samples_s: Sequence[tuple[float, ...]]) -> Iterator[Block]:
    runs = head["runs"][len(head["runs"]) - len(samples_s) :]
    each = zip(samples_s, runs, head["sessions"], head["rejected"], strict=True)
    for i, (own_s, times, session, rejected) in enumerate(each):
        read = {name: of[i] for name, of in head["telemetry"].items() if of[i] is not None}
        shared = _unmasked(head["shared"][i], len(own_s)) if "shared" in head else ()
        yield Block(own_s, times, read, session, rejected and Rejection(*rejected), shared)


def _mask(shared: Sequence[bool]) -> str | None:
    """In hexadecimal, a bit for each sample, the first one lowest; None where nothing is known."""
    return f"{sum(one << i for i, one in enumerate(shared)):x}" if shared else None


def _unmasked(mask: str | None, samples: int) -> tuple[bool, ...]:
    bits = int(mask, 16) if mask else 0
    return tuple(bool(bits >> i & 1) for i in range(samples)) if mask else ()


def _columns(blocks: Sequence[Block]) -> dict[str, list[float | None]]:
    """Telemetry by name, a value for each block; None where a block has none."""
    names = dict.fromkeys(name for block in blocks for name in block.telemetry)
    return {name: [block.telemetry.get(name) for block in blocks] for name in names}


def _parts(
    samples_s: Sequence[float], blocks: Sequence[Block], session: int, sample_s: float
) -> _Parts:
    """The parts of a session's warm-up. How often each sample ran the network is not told: it grew
    until a sample lasted `sample_s`, and the samples say what fits."""
    if not samples_s:
        return []
    own_s = np.array(samples_s)
    fastest_s = np.maximum(np.minimum.accumulate(own_s), 1e-9)
    told = [block.runs_per_sample for block in blocks if block.session == session]
    fits = np.ones(len(own_s), int)
    for runs in sorted({*told, *np.ceil(sample_s / fastest_s).astype(int).tolist()}):
        fits[_seconds(_total_ns(own_s, runs), runs) == own_s] = runs
    return [(runs, len(list(part))) for runs, part in groupby(fits.tolist())]


def _numbers(samples_s: _Array, parts: _Parts) -> tuple[list[int] | None, NDArray[Any]]:
    """The least of each part in nanoseconds, and all samples above it; None and seconds where
    some are not whole, or too many."""
    runs, counts = np.array(parts).T
    total_ns = _total_ns(samples_s, np.repeat(runs, counts))
    least_ns = np.minimum.reduceat(total_ns, np.cumsum(counts) - counts)
    above_ns = total_ns - np.repeat(least_ns, counts)
    whole = np.array_equal(_seconds(total_ns, np.repeat(runs, counts)), samples_s)
    if whole and above_ns.max() < 2**32 and least_ns.max() < 2**52:
        return least_ns.astype(int).tolist(), above_ns.astype("<u4")
    return None, samples_s


def _split(head: dict[str, Any], numbers: NDArray[Any]) -> list[tuple[float, ...]]:
    """The samples of each part, seconds for a run."""
    counts, least_ns = head["samples"], head["least_ns"]
    if len(numbers) != sum(counts) or min(head["runs"]) < 1:
        raise ValueError(f"{sum(counts)} samples of runs were packed, {len(numbers)} are there")
    if least_ns is not None:
        total_ns = np.repeat(np.array(least_ns, float), counts) + numbers
        numbers = _seconds(total_ns, np.repeat(head["runs"], counts))
    each = iter(numbers.tolist())
    return [tuple(islice(each, count)) for count in counts]


def _by_bits(numbers: NDArray[Any]) -> tuple[bytes, bytes]:
    """How many bits each number has, and all bits below the highest of each."""
    bits = np.unpackbits(numbers.astype(">u4").view(np.uint8)).reshape(-1, 32)
    lengths = np.where(numbers > 0, 32 - bits.argmax(axis=1), 0)
    return lengths.astype(np.uint8).tobytes(), np.packbits(bits[_noisy(lengths)]).tobytes()


def _from_bits(lengths: bytes, noise: bytes) -> NDArray[Any]:
    each = np.frombuffer(lengths, np.uint8).astype(int)
    where = _noisy(each)
    if (each > 32).any() or where.sum() > 8 * len(noise):
        raise ValueError(f"samples cannot be unpacked: {len(noise)} bytes are not all of theirs")
    bits = np.zeros((len(each), 32), np.uint8)
    bits[each > 0, 32 - each[each > 0]] = 1
    bits[where] = np.unpackbits(np.frombuffer(noise, np.uint8), count=int(where.sum()))
    return np.packbits(bits).view(">u4").astype("<u4")


def _noisy(lengths: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of the bits, highest first, are below a number's highest."""
    return np.asarray(np.arange(32) > 32 - np.maximum(lengths, 1)[:, None])


def _by_place(numbers: NDArray[Any]) -> bytes:
    """All lowest bytes, then the next ones: the highest are much alike, which zlib uses."""
    return numbers.view(np.uint8).reshape(len(numbers), -1).T.tobytes()


def _from_places(data: bytes, kind: str) -> NDArray[Any]:
    places = np.frombuffer(data, np.uint8).reshape(np.dtype(kind).itemsize, -1)
    return np.ascontiguousarray(places.T).view(kind).reshape(-1)


def _total_ns(samples_s: _Array, runs: Any) -> _Array:
    with np.errstate(over="ignore"):
        return np.asarray(np.rint(samples_s * runs * 1e9))


def _seconds(total_ns: _Array, runs: Any) -> _Array:
    """Seconds for a run, rounded as TVM's timer does, which tells milliseconds first."""
    return np.asarray(total_ns / 1e6 / 1e3 / runs)
