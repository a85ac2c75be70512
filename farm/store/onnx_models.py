"""Imported ONNX models. What a campaign or a query measures must be found again after a restart."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from farm.store.edge import translated

_CODE = re.compile(r"[0-9a-f]+")
"""What no path hides in."""


class StoredModels(Mapping[str, bytes]):
    """The models in STORE/onnx/CODE.onnx, by their codes. Read whenever they are asked for.

    Raises StoreFull and StoreError.
    """

    def __init__(self, store: Path) -> None:
        self._folder = store / "onnx"

    def keep(self, models: Mapping[str, bytes]) -> None:
        """Write models; one that is there is replaced, which mends a damaged one."""
        for code, model in models.items():
            with translated(self._path(code)):
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                with TemporaryDirectory(prefix="new-", dir=self._folder) as scratch:
                    new = Path(scratch) / code
                    with new.open("wb") as file:
                        file.write(model)
                        file.flush()
                        os.fsync(file.fileno())
                    new.replace(self._path(code))

    def __getitem__(self, code: str) -> bytes:
        path = self._path(code)
        if not _CODE.fullmatch(code) or not path.exists():
            raise KeyError(code)
        with translated(path):
            return path.read_bytes()

    def batch(self, code: str) -> int | None:
        """The size of the first axis of a model's input; None where that cannot be told."""
        import onnx
        from google.protobuf.message import DecodeError

        try:
            model = onnx.load_from_string(self[code])
        except (KeyError, DecodeError):
            return None
        axes = [axis for i in model.graph.input[:1] for axis in i.type.tensor_type.shape.dim[:1]]
        return axes[0].dim_value if axes else None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(path.stem for path in self._folder.glob("*.onnx")))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _path(self, code: str) -> Path:
        return self._folder / f"{code}.onnx"
