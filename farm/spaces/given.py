"""What a user names: a network or a search space, by its name or by ONNX files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from farm.core.errors import UsageError
from farm.core.values import Network
from farm.spaces import parse_network
from farm.spaces.base import ONNX


def given_network(
    text: str, input_shape: str | None, stored: Mapping[str, bytes]
) -> tuple[Network, Mapping[str, bytes]]:
    """The network of `SPACE/CODE` or of an .onnx file, and its model if it comes from a file.

    input_shape: of a file whose own is dynamic, such as `1,3,224,224`.
    stored: the ONNX models that were imported before. Raises UsageError, UnknownName and
    NetworkSyntaxError.
    """
    if not text.endswith(".onnx"):
        _refuse_shape(input_shape, text)
        return parse_network(text, stored), {}
    from farm.spaces.onnx.files import import_file

    models = import_file(Path(text), input_shape)
    return Network(ONNX, *models), models


def given_space(text: str, input_shape: str | None) -> tuple[str, Mapping[str, bytes]]:
    """The name of a search space, and of `onnx:FOLDER` the models. Raises UsageError and
    NetworkSyntaxError."""
    name, _, folder = text.partition(":")
    if name != ONNX:
        _refuse_shape(input_shape, text)
        return text, {}
    if not folder:
        raise UsageError("--space onnx needs the folder of its files: --space onnx:FOLDER")
    from farm.spaces.onnx.files import import_folder

    return name, import_folder(Path(folder).expanduser(), input_shape)


def _refuse_shape(input_shape: str | None, what: str) -> None:
    if input_shape is not None:
        raise UsageError(f"--input-shape is only for ONNX files, not for {what!r}; leave it out")
