"""Stores what came of requests, and tells who has to know of it."""

from __future__ import annotations

from collections.abc import Sequence

from farm.campaign.causes import AWAY, Causes, poisoned
from farm.campaign.grouping import is_control, is_kernel
from farm.core.errors import BuildError
from farm.devices.monitor import Monitor
from farm.measurement.record import Failure, Measurement
from farm.store import Request, Store

HOPELESS = 4
"""Kernels that fail on a device, with none measured, before it is asked for networks alone."""


class Outcomes:
    """What came of one run's requests.

    again: requests that have an outcome and are measured again, by id; the narrower interval of the
        two counts. improved: those that were, and whether theirs is narrower than before.
    ended: how many requests have had their outcome here, control networks and kernels left out.
    """

    def __init__(self, store: Store, causes: Causes, monitor: Monitor) -> None:
        self._store = store
        self._causes = causes
        self._monitor = monitor
        self.again: dict[int, Request] = {}
        self.improved: list[tuple[Request, bool]] = []
        self.ended = 0

    def record(self, pairs: Sequence[tuple[Request, Measurement | Failure]]) -> None:
        """Store what came of one job, before anything else happens."""
        with self._store.together():
            for request, outcome in pairs:
                self._record(request, outcome)
            for request, outcome in pairs:
                if isinstance(outcome, Failure) and is_kernel(request):
                    self._give_up_kernels(request, outcome)

    def fail_to_build(self, request: Request, error: BuildError) -> None:
        """Store that there is nothing to measure a request with."""
        failure = Failure(request.network, request.device, error.kind, str(error), error.retryable)
        self.record([(request, failure)])

    def _record(self, request: Request, outcome: Measurement | Failure) -> None:
        if self.again.pop(request.id, None) is not None:
            better = isinstance(outcome, Measurement) and self._store.record_again(request, outcome)
            self.improved.append((request, better))
            return
        final = True
        if isinstance(outcome, Failure) and not is_control(request):
            before = self._store.failed_attempts(request.id, AWAY)
            final = self._causes.is_final(request, outcome, before)
            if final and outcome.kind in AWAY:
                outcome = poisoned(outcome)
        row = self._store.record(request, outcome, final)
        self._monitor.collect(request, row, outcome)
        self.ended += final and request.campaign is not None and not is_kernel(request)

    def _give_up_kernels(self, request: Request, failure: Failure) -> None:
        """A device on which one kernel after the other fails is asked for none of the rest."""
        if request.campaign is None:
            return
        counts = self._store.kernel_counts(request.campaign)[request.device]
        if counts.measured or counts.failed < HOPELESS:
            return
        why = f"given up, as the first {counts.failed} kernels failed: {failure.message}"
        pending = self._store.pending_by_device(request.campaign).get(request.device, {})
        for other in [one for one in pending.values() if is_kernel(one)]:
            rest = Failure(other.network, other.device, failure.kind, why, retryable=False)
            self._store.record(other, rest)
