"""What a device is sent: each thing once, under the digest of its content, in pieces.

A transfer that broke off goes on where it was; what has arrived stays until its room is needed.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from agents.answers import KEPT, Kept, fitting
from agents.pipes import DEVICE_FILES, Pipe, result_of
from farm.core.errors import DeviceError

_PIECE_BYTES = 48 * 1024
"""A link of 5 kB/s takes one within the time that a device may be silent."""

_PIECE_S = 60.0

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The first date that an archive can hold: the same files make the same archive."""


@dataclass(frozen=True)
class Payload:
    """name: the SHA-256 of `data` and a suffix; room_bytes: what it takes on the device."""

    name: str
    data: bytes
    room_bytes: int


def library(data: bytes) -> Payload:
    """A compiled network."""
    return Payload(f"{_digest(data)}.so", data, len(data))


@cache
def runner() -> Payload:
    """The files of the runner."""
    return _archive({path.name: path for path in DEVICE_FILES})


@cache
def runtime(bundle: Path) -> Payload:
    """A slim runtime (`agents/runtime/bundle.py`)."""
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    own = (path for path in files if "__pycache__" not in path.parts)
    return _archive({path.relative_to(bundle).as_posix(): path for path in own})


def send(pipe: Pipe, payload: Payload) -> str:
    """The path of a payload on the device; what is not there yet is sent.

    Raises DeviceUnfit where there is no room, DeviceLost where the link breaks, and DeviceError
    where the device takes piece after piece and comes no further.
    """
    size_bytes = len(payload.data)
    about = {"name": payload.name, "size_bytes": size_bytes, "room_bytes": payload.room_bytes}
    state = _ask(pipe, {"op": "have", **about})
    for _ in range(2 + size_bytes // _PIECE_BYTES):
        if "path" in state:
            return state["path"]
        arrived = state.get("bytes", 0)
        offset = arrived if arrived < size_bytes else 0
        piece = b64encode(payload.data[offset : offset + _PIECE_BYTES]).decode()
        state = _ask(pipe, {"op": "put", **about, "offset": offset, "data": piece})
    if "path" in state:
        return state["path"]
    raise DeviceError(f"the device was sent all {size_bytes} bytes of {payload.name}, it has not")


def unpack(payload: Payload, content: Path) -> None:
    """Puts an archive where the supervisor of a device looks for it, in FOLDER/content."""
    folder = content / payload.name.removesuffix(".zip")
    with zipfile.ZipFile(io.BytesIO(payload.data)) as archive:
        archive.extractall(folder)


def _ask(pipe: Pipe, message: Mapping[str, Any]) -> Kept:
    return fitting(KEPT, result_of(pipe.request(message, _PIECE_S)), "the device")


def _archive(files: Mapping[str, Path]) -> Payload:
    text, size_bytes = io.BytesIO(), 0
    with zipfile.ZipFile(text, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files.items():
            data = path.read_bytes()
            entry = zipfile.ZipInfo(name, _EPOCH)
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
            size_bytes += len(data)
    packed = text.getvalue()
    return Payload(f"{_digest(packed)}.zip", packed, len(packed) + size_bytes)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
