"""Everything that can go wrong, as one tree.

FarmError
├── UsageError                 the user's words; exit code 2, nothing was stored
│   ├── ConfigError            cluster.yaml, with the line
│   ├── NetworkSyntaxError     a network that its search space does not know, or an unfit ONNX file
│   ├── UnknownName            a device, search space, campaign, kind or target that does not exist
│   ├── TargetError            a target that TVM refuses
│   └── MissingExtra           what was asked for needs a package that is not installed
├── StoreError                 exit code 1
│   ├── StoreBusy              another process has been writing for too long
│   ├── Leased                 another process runs this campaign
│   ├── LeaseLost              another process took over what this one held
│   ├── StoreNewer             written by a later version of the farm
│   └── StoreFull              no room on the disk
├── ServiceError               of `farm serve`, or of asking it; exit code 1
│   ├── NotSignedIn            no token, or one that opens nothing
│   ├── NotAllowed             a token that does not allow this, or a place that may not ask
│   ├── TooLarge               more than is read of one request
│   └── TooBusy                more requests than are answered; retryable
├── BuildError                 a network that does not compile, or computes something wrong
│   └── CompilerLost           what compiles or checks it died or fell silent; retryable
└── DeviceError                becomes a recorded `Failure` of one measurement
    ├── DeviceLost             the agent or the link died; retryable
    ├── DeviceBusy             another farm uses the device; retryable
    ├── DeviceChanged          it became another while it measured; retryable
    ├── BadArtifact            the library is damaged, missing, or not for this device
    ├── DeviceUnfit            the device cannot do what is asked of it (too few cores, no runtime)
    ├── MeasureTimeout         no answer within the time limit
    ├── NetworkCrashed         the network under test took its process down
    └── WrongOutput            the network ran, and computed something else than the oracle

`retryable` says whether asking again may help.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from farm.core.checks import plain


class FarmError(Exception):
    """Base of all. Its message is one line: the rule, the value, the next step."""

    exit_code = 1


class UsageError(FarmError):
    exit_code = 2


class ConfigError(UsageError):
    pass


class NetworkSyntaxError(UsageError):
    pass


class UnknownName(UsageError):
    """A name that is not in a known list; the message offers the nearest ones."""

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        names = sorted(known)
        near = get_close_matches(name, names, n=1)
        offer = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
        super().__init__(f"no {what} {name!r}; {offer}{'; ' + hint if hint else ''}")


class TargetError(UsageError):
    pass


class MissingExtra(UsageError):
    pass


class StoreError(FarmError):
    pass


class StoreBusy(StoreError):
    pass


class Leased(StoreError):
    pass


class LeaseLost(StoreError):
    pass


class StoreNewer(StoreError):
    pass


class StoreFull(StoreError):
    pass


class ServiceError(FarmError):
    pass


class NotSignedIn(ServiceError):
    pass


class NotAllowed(ServiceError):
    pass


class TooLarge(ServiceError):
    pass


class TooBusy(ServiceError):
    retryable = True


class BuildError(FarmError):
    kind = "build"
    retryable = False


class CompilerLost(BuildError):
    """killed: whether somebody killed it, which says nothing of what it built."""

    retryable = True

    def __init__(self, message: str = "", killed: bool = False) -> None:
        super().__init__(message)
        self.killed = killed


class DeviceError(FarmError):
    """network: the number of the one in the session that it happened to, where that is known.

    What a device says may be in its message: it is on one line, and cut.
    """

    kind = "device"
    retryable = False
    network: int | None = None

    def __init__(self, message: str = "") -> None:
        super().__init__(plain(message))


@contextmanager
def blaming(network: int) -> Iterator[None]:
    """Says of a DeviceError from within which network of the session it happened to."""
    try:
        yield
    except DeviceError as e:
        e.network = network
        raise


class DeviceLost(DeviceError):
    kind = "lost"
    retryable = True


class DeviceBusy(DeviceError):
    kind = "busy"
    retryable = True


class DeviceChanged(DeviceError):
    kind = "changed"
    retryable = True


class DeviceUnfit(DeviceError):
    kind = "unfit"


class BadArtifact(DeviceError):
    kind = "artifact"


class MeasureTimeout(DeviceError):
    kind = "timeout"


class NetworkCrashed(DeviceError):
    kind = "crash"


class WrongOutput(DeviceError):
    kind = "wrong_output"
