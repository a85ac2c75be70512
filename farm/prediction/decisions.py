"""What the central predictor is asked, and what it answers: plain values, which travel."""

from __future__ import annotations

from dataclasses import dataclass

from farm.core.values import Network


@dataclass(frozen=True)
class Outlook:
    """How far a device is from a goal. reached: the model says that it is there.

    now: the figure that the goal is about, as the model expects it. said: a sentence.
    left: about how many networks are wanted yet, as an interval; None where that cannot be said.
    left_s: device seconds of as many as are expected.
    """

    reached: bool
    now: float
    said: str
    left: tuple[int, int] | None = None
    left_s: float | None = None


@dataclass(frozen=True)
class Learnt:
    """A point of a learning curve: what is predicted of the holdout after so many networks.
    error_median: relative. Both are None where they cannot be said."""

    networks: int
    error_median: float | None
    spearman: float | None


@dataclass(frozen=True)
class Question:
    """more: networks that a device is to be asked for; 0 only looks at the goal.

    taken: networks that were asked for and have no outcome yet: they count as observed.
    ended: networks that the campaign asked the device for, and that have an outcome of any kind:
        they are not asked for again.
    kernels: whether the device has times of kernels to predict by.
    judged: whether all networks that only judge have their outcome.
    """

    campaign: str
    device: str
    more: int
    taken: tuple[Network, ...] = ()
    ended: tuple[Network, ...] = ()
    kernels: bool = False
    judged: bool = True


@dataclass(frozen=True)
class Decision:
    """networks: to ask the device for, most worth first; fewer than asked for where no more are
    left.

    why: a sentence for a person. learnt: what the networks that it was decided by taught.
    outlook: of the campaign's goal, if it has one. stop: why nothing more is wanted of the device.
    remark: what a person should know of the goal. half_width: that the networks are measured to;
    None for what the device's spec says.
    """

    device: str
    networks: tuple[Network, ...]
    why: str
    learnt: Learnt
    outlook: Outlook | None = None
    stop: str | None = None
    remark: str | None = None
    half_width: float | None = None
