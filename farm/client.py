"""The farm as a Python object, asked of a service (`farm serve`) that runs elsewhere.

from farm import Client

found = Client("http://farm:8765", token).predict(networks, "cpu1")
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

import numpy as np
from numpy.typing import NDArray

from farm.core import errors
from farm.core.checks import plain
from farm.core.errors import FarmError, ServiceError, UnknownName, UsageError
from farm.core.values import GivenInput, Network

if TYPE_CHECKING:
    from farm.campaign.following import Ending
    from farm.campaign.planning import Launch
    from farm.prediction.batch import Answers
    from farm.prediction.prediction import Predicted, Predictions
    from farm.store.events import Event

FloatArray = NDArray[np.float64]

_WAIT_S = 20
"""For how long a service is let wait for what it measures before it is asked again."""

_PROBLEM_BYTES = 100_000
"""Of an answer that is an error, so much is read."""

_ATTEMPTS, _BACK_OFF_S = 6, 0.5
"""How often in a row a stream that is cut is taken up again; the pause doubles each time."""


class _Silent(ServiceError):
    """Nothing answers, or no more."""


@dataclass(frozen=True, eq=False)
class RemoteEncoding:
    """HWL of N networks on R reference devices, as `farm.prediction.encoding.Encoding` has it.

    latency_s, values, std: (N, R) float64, NaN where nothing is known. source: (N, R), as there.
    rows: of each network, as `farm hwl --json` prints it.
    """

    networks: tuple[Network, ...]
    devices: tuple[str, ...]
    version: str
    rows: tuple[Mapping[str, Any], ...]

    @cached_property
    def values(self) -> FloatArray:
        return _array(row["values"] for row in self.rows)

    @cached_property
    def std(self) -> FloatArray:
        return _array(row["std"] for row in self.rows)

    @cached_property
    def latency_s(self) -> FloatArray:
        return _array([one["latency_s"] for one in row["references"]] for row in self.rows)

    @property
    def source(self) -> NDArray[np.str_]:
        return np.array([[one["source"] or "" for one in row["references"]] for row in self.rows])


@dataclass(frozen=True)
class RemoteRow:
    """One network's HWL encoding, as `farm.prediction.encoding.NetworkEncoding` tells it."""

    row: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return dict(self.row)

    def to_row(self) -> dict[str, Any]:
        from farm.prediction.encoding import row_of

        return row_of(self.row)


@dataclass(frozen=True)
class Client:
    """A service's address and a token. Methods raise what `farm.core.errors` draws, the service's
    own errors as what they are there.

    timeout_s: how long an answer is waited for.
    """

    url: str
    token: str = field(repr=False)
    timeout_s: float = 300.0

    def __post_init__(self) -> None:
        told = urlsplit(self.url)
        if told.scheme not in ("http", "https") or not told.netloc or told.path.strip("/"):
            raise UsageError(
                f"a service's address is such as http://127.0.0.1:8765, got {plain(self.url)!r}"
            )
        if not self.token.isascii() or not self.token.isprintable() or " " in self.token:
            raise UsageError(
                "a token is one word, as `farm token create NAME` prints it; this one is not"
            )

    def predict(
        self,
        networks: Sequence[str],
        device: str,
        *,
        measure: str = "never",
        max_error: float | None = None,
        explain: bool = False,
        strict: bool = True,
    ) -> Predictions:
        """What networks take on a device, as `Farm.predict`. measure, max_error: what may be
        measured for it, see `Ask`; that takes a token of role `user`, and is waited for."""
        from farm.prediction.batch import Answers
        from farm.prediction.prediction import Predictions

        asked = {"device": device, "networks": _several(networks), "explain": explain}
        said = self._answered("/v1/predict", asked, measure, max_error)
        wrong, rows = _parted(said["networks"])
        answers = Answers(
            tuple(networks), {row: _predicted(one) for row, one in rows.items()}, wrong
        )
        if strict:
            answers.must_have_all()
        return Predictions(said["device"], answers, said["learnt"], said["kernels"])

    def hwl(
        self, networks: Sequence[str], *, measure: str = "never", max_error: float | None = None
    ) -> RemoteEncoding:
        """The HWL encodings of networks, as arrays; measure, max_error: as of `predict`. Raises
        UsageError for whatever is wrong with any network."""
        found = self.hwl_each(networks, measure=measure, max_error=max_error)
        found.must_have_all()
        return _encoding(tuple(one.row for one in found))

    def hwl_each(
        self, networks: Sequence[str], *, measure: str = "never", max_error: float | None = None
    ) -> Answers[RemoteRow]:
        """The same, as far as there are any, one after the other; one that has none says why, in
        its row. Raises UsageError where none has one."""
        from farm.prediction.batch import Answers

        asked = {"networks": _several(networks)}
        said = self._answered("/v1/hwl", asked, measure, max_error)
        wrong, rows = _parted(said["networks"])
        return Answers(tuple(networks), {i: RemoteRow(row) for i, row in rows.items()}, wrong)

    def network(self, network: str, *, explain: bool = False) -> list[dict[str, Any]]:
        """A network's latency on every device, or `error`: why there is none."""
        path = f"/v1/network?network={quote(network, safe='')}&explain={str(explain).lower()}"
        found: list[dict[str, Any]] = self._ask(path)["devices"]
        return found

    def devices(self) -> list[dict[str, Any]]:
        """The devices of the farm, and what they do at the moment."""
        found: list[dict[str, Any]] = self._ask("/v1/devices")["devices"]
        return found

    def device(self, name: str) -> dict[str, Any]:
        """A device as it was seen last. Raises UnknownName."""
        return self._ask(f"/v1/devices/{quote(name, safe='')}")

    def campaigns(self) -> list[dict[str, Any]]:
        """The campaigns, oldest first."""
        found: list[dict[str, Any]] = self._ask("/v1/campaigns")["campaigns"]
        return found

    def campaign(self, name: str = "latest") -> dict[str, Any]:
        """What a campaign came to, as `farm campaign show --json`. Raises UnknownName."""
        return self._ask(f"/v1/campaigns/{quote(name, safe='')}")

    def choices(self, campaign: str = "latest") -> list[dict[str, Any]]:
        """The networks that a campaign chose to learn from, in order, and why. Raises
        UnknownName."""
        asked = f"/v1/campaigns/{quote(campaign, safe='')}/choices"
        found: list[dict[str, Any]] = self._ask(asked)["choices"]
        return found

    def launch(self, launch: Launch) -> str:
        """Launch a campaign, which the service runs; its name, at once. Takes a token of role
        `user`. Raises UsageError."""
        default = {one.name: one.default for one in fields(launch)}
        said = {n: value for n, value in asdict(launch).items() if value != default[n]}
        if of_files := sorted(said.keys() & {"shape", "batch", "strict"}):
            raise UsageError(
                f"the service reads no files, which {of_files[0]!r} is about; leave it out, or "
                "launch the campaign where the files are"
            )
        return str(self._ask("/v1/campaigns", said)["campaign"])

    def cancel(self, campaign: str) -> str:
        """Ask a campaign to end; its name. One's own takes the role `user`, others' `admin`."""
        return str(self._ask(f"/v1/campaigns/{quote(campaign, safe='')}/cancel", {})["campaign"])

    def queue(self) -> list[dict[str, Any]]:
        """Who holds devices and cores, and who waits for them, in turn."""
        found: list[dict[str, Any]] = self._ask("/v1/queue")["claims"]
        return found

    def events(
        self, campaign: str | None = None, device: str | None = None, after: int | None = None
    ) -> Iterator[Event]:
        """What happens, as `Farm.events`. A stream that is cut goes on after the last event."""
        from farm.campaign.following import Ending, ended

        name = campaign and self._campaign(campaign)["id"]
        given = {"campaign": name, "device": device}
        asked, ending, failed = {k: v for k, v in given.items() if v is not None}, Ending(), 0
        while True:
            known = {} if after is None else {"after": after}
            try:
                with self._reply(f"/v1/events?{urlencode(asked | known)}") as reply:
                    for event in _events(reply):
                        failed = 0
                        if event is not None:
                            after = event.id
                            yield event
                        if event is not None and ended(event, name):
                            return
                        if event is None and name and self._is_over(ending, name):
                            return
            except _Silent:
                failed += 1
                if failed == _ATTEMPTS:
                    raise
            time.sleep(_BACK_OFF_S * 2**failed)

    def _is_over(self, ending: Ending, campaign: str) -> bool:
        now = self._campaign(campaign)
        return ending.is_over(now["state"], now["run_by"] is not None)

    def _campaign(self, name: str) -> dict[str, Any]:
        """A campaign as the list of them has it. Raises UnknownName."""
        found = {one["id"]: one for one in self.campaigns()}
        if name == "latest" and found:
            return list(found.values())[-1]
        if name not in found:
            raise UnknownName("campaign", name, found)
        return found[name]

    def _answered(
        self, path: str, asked: Mapping[str, Any], measure: str, max_error: float | None
    ) -> dict[str, Any]:
        """The answer to a question, once all is measured that is to be."""
        if measure != "never" or max_error is not None:
            asked = {**asked, "measure": measure, "max_error": max_error, "wait_s": _WAIT_S}
        said = self._ask(path, asked)
        job: dict[str, Any] = said.get("job") or {"state": "done"}
        while job["state"] == "running":
            job = self._ask(f"/v1/jobs/{job['job']}?wait_s={_WAIT_S}")
            said = job.get("answer") or said
        if job["state"] != "done":
            raise _told(job["error"], job["message"] or "it ended before it had an answer")
        return said

    def _ask(self, path: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """An answer, which is an object; data: what is sent by POST."""
        with self._reply(path, data) as reply:
            try:
                said = json.load(reply)
            except ValueError:
                raise ServiceError(_no_farm(self.url)) from None
        if not isinstance(said, dict):
            raise ServiceError(_no_farm(self.url))
        return said

    @contextmanager
    def _reply(self, path: str, data: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """An answer that is still to be read. Raises what the service told, and ServiceError."""
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        body = None if data is None else json.dumps(data).encode()
        request = Request(self.url.rstrip("/") + path, body, headers)
        try:
            with _opener().open(request, timeout=self.timeout_s) as reply:
                yield reply
        except HTTPError as e:
            with e:
                raise _problem(self.url, e) from None
        except (OSError, HTTPException) as e:
            reason = e.reason if isinstance(e, URLError) else e
            raise _Silent(
                f"{self.url} does not answer: {plain(str(reason))}; `farm serve` starts a service"
            ) from e


class _Stay(HTTPRedirectHandler):
    """A token is shown to nobody but the service: no redirect is followed."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _opener() -> OpenerDirector:
    return build_opener(_Stay)


def _no_farm(url: str) -> str:
    return f"what answers at {url} is no farm's service; `farm serve` says its address"


def _problem(url: str, reply: HTTPError) -> FarmError:
    """The error that a service told, of its own kind."""
    try:
        told = json.loads(reply.read(_PROBLEM_BYTES))
        found = _told(told["error"], told["message"])
    except (ValueError, KeyError, TypeError, OSError, HTTPException):
        return ServiceError(f"{_no_farm(url)} (status {reply.code})")
    if _is_older(told, reply.code):
        return ServiceError(
            f"the farm at {url} is of an earlier version, which does not know what was asked "
            f"({found}); update it, or ask for less"
        )
    return found


def _told(kind: str, message: str) -> FarmError:
    """Raises KeyError for what is no kind of error."""
    # Some kinds make their message of what they are given; this one is made already.
    return _KINDS[kind].__new__(_KINDS[kind], plain(message))


def _is_older(told: Mapping[str, Any], status: int) -> bool:
    """Whether a service knows less than this client: the page, or a word of what was sent."""
    unknown = status in (404, 405) and told["error"] == UsageError.__name__
    return unknown or (status == 422 and "Extra inputs are not permitted" in told["message"])


_KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, FarmError)
}


def _events(lines: Iterator[bytes]) -> Iterator[Event | None]:
    """The events of a stream; None for what only says that it lives."""
    from farm.store.events import Event

    for line in lines:
        if line.startswith(b":"):
            yield None
        if line.startswith(b"data: "):
            try:
                told = json.loads(line.removeprefix(b"data: "))
                event = Event(**{one.name: told[one.name] for one in fields(Event)})
            except (ValueError, KeyError, TypeError):
                raise ServiceError("what answers sends no events of a farm") from None
            yield event


def _several(networks: Sequence[str]) -> list[str]:
    """Raises UsageError for a single one, whose letters would be taken for networks."""
    if isinstance(networks, str):
        raise UsageError(
            f"networks are a list, got the text {plain(networks)[:80]!r}; put it in []"
        )
    return list(networks)


def _parted(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[dict[int, str], dict[int, Mapping[str, Any]]]:
    """What is wrong with some rows, and the others."""
    wrong = {i: str(row["error"]) for i, row in enumerate(rows) if row.get("error")}
    return wrong, {i: row for i, row in enumerate(rows) if i not in wrong}


def _predicted(row: Mapping[str, Any]) -> Predicted:
    """The inverse of `Predicted.to_json`."""
    from farm.prediction.prediction import KernelShare, Predicted
    from farm.prediction.references import Meant

    meant = Meant(row["device"], row["revision"], row["batch"], row["flush_bytes"])
    return Predicted(
        network=Network.from_id(row["network"]),
        meant=meant,
        latency_s=row["latency_s"],
        low_s=row["low_s"],
        high_s=np.inf if row["high_s"] is None else row["high_s"],
        source=row["source"],
        verdict=row["verdict"],
        reason=row.get("reason"),
        inputs=tuple(_inputs(row)),
        kernels=tuple(KernelShare(**kernel) for kernel in row.get("kernels", ())),
    )


def _inputs(row: Mapping[str, Any]) -> Iterator[GivenInput]:
    for one in row.get("inputs", ()):
        yield GivenInput(one["name"], one["type"], tuple(one["shape"]))


def _encoding(rows: tuple[Mapping[str, Any], ...]) -> RemoteEncoding:
    """Raises UsageError where versions differ."""
    versions = sorted({row["version"] for row in rows})
    if len(versions) > 1:
        raise UsageError(
            f"encodings of one version can be mixed, got {versions[0]} and {versions[1]}; ask for "
            "one search space at a time"
        )
    networks = tuple(Network.from_id(row["network"]) for row in rows)
    devices = tuple(one["device"] for one in rows[0]["references"])
    return RemoteEncoding(networks, devices, versions[0], rows)


def _array(rows: Iterator[Sequence[float | None]]) -> FloatArray:
    """(N, R) float64, NaN for None."""
    return np.array(list(rows), dtype=float)
