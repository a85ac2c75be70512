"""The benchmark of waiting devices, on a campaign that was made up."""

from __future__ import annotations

from benchmarks.idle import Watch
from farm.campaign import progress
from farm.campaign.progress import DeviceProgress, Progress


def look(**doing: str) -> Progress:
    """A campaign whose devices do that."""
    devices = {name: DeviceProgress(state, 0, 0, 1) for name, state in doing.items()}
    return Progress("c1", devices, 0, 0.0, None, ())


def test_devices_count_from_their_first_measurement_until_they_are_done() -> None:
    clock = iter([0.0, 1.0, 3.0, 6.0, 10.0, 50.0])
    watch = Watch(lambda: next(clock))
    watch(look(a=progress.WAITING, b=progress.WAITING))
    watch(look(a=progress.MEASURING, b=progress.WAITING))  # at 3 s
    watch(look(a=progress.WAITING, b=progress.MEASURING))  # at 6 s
    watch(look(a=progress.MEASURING, b=progress.DONE))  # at 10 s
    watch(look(a=progress.DONE, b=progress.DONE))  # at 50 s
    assert watch.seconds[progress.MEASURING] == 3 + 4 + 40
    assert watch.seconds[progress.WAITING] == 4
    assert watch.idle_fraction == 4 / 51
