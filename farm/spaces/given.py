"""What a user names: a network or a search space, by its name or by ONNX files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from farm.core.errors import UsageError
from farm.core.values import Network
from farm.spaces import parse_network
from farm.spaces.base import ONNX
from farm.spaces.sizes import Sizes


def given_network(
    text: str, sizes: Sizes, stored: Mapping[str, bytes]
) -> tuple[Network, Mapping[str, bytes]]:
    """The network of `SPACE/CODE` or of an .onnx file, and its model if it comes from a file.

    sizes: of a file's inputs, where it leaves them open.
    stored: the ONNX models that were imported before. Raises UsageError, UnknownName and
    NetworkSyntaxError.
    """
    if not text.endswith(".onnx"):
        _refuse_sizes(sizes, text)
        return parse_network(text, stored), {}
    from farm.spaces.onnx.files import import_file

    models = import_file(Path(text), sizes)
    return Network(ONNX, *models), models


def given_space(
    text: str, sizes: Sizes, strict: bool = False
) -> tuple[str, Mapping[str, bytes], Mapping[str, str]]:
    """The name of a search space, and of `onnx:FOLDER` the models, and why files have none.

    strict: whether a file without a model is an error. Raises UsageError and NetworkSyntaxError.
    """
    name, _, folder = text.partition(":")
    if name != ONNX:
        _refuse_sizes(sizes, text)
        if strict:
            raise UsageError(f"--strict is only for ONNX files, not for {text!r}; leave it out")
        return text, {}, {}
    if not folder:
        raise UsageError("--space onnx needs the folder of its files: --space onnx:FOLDER")
    from farm.spaces.onnx.files import import_folder

    models, refused = import_folder(Path(folder).expanduser(), sizes, strict)
    return name, models, refused


def _refuse_sizes(sizes: Sizes, what: str) -> None:
    """A search space says its input's shape, and a device how many images it measures."""
    if sizes.text is not None:
        raise UsageError(f"--shape is only for ONNX files, not for {what!r}; leave it out")
    if sizes.batch is not None:
        raise UsageError(
            f"--batch is only for ONNX files, not for {what!r}; "
            "write `batch` into the device's `measure` in cluster.yaml"
        )
