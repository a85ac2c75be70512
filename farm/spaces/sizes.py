"""What a user says of the sizes that an ONNX file leaves open."""

from __future__ import annotations

from dataclasses import dataclass

from farm.core.errors import UsageError


@dataclass(frozen=True)
class Sizes:
    """What a user says of a file's inputs.

    text: `1,3,224,224` for the only input, or `NAME=1x128` for the input or `NAME=128` for the open
        axis of a name, with commas between several.
    batch: of open first axes; None leaves them to the devices. Raises UsageError for none at all.
    """

    text: str | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"--batch must be at least 1, got {self.batch}")


AS_DECLARED = Sizes()
"""Open first axes stay open, other open axes are refused."""
