"""What happens, told to many at once: in order, from where each left off, by one reader."""

from __future__ import annotations

import json
import socket
import sqlite3
from contextlib import ExitStack, closing
from itertools import islice
from urllib.parse import urlsplit

import pytest

from farm import Client
from farm.core.errors import UnknownName
from farm.farm import Farm
from tests.conftest import FAKES
from tests.service.conftest import KEY, Served, running

pytestmark = pytest.mark.slow


def told(reply):
    lines = reply.text.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def test_it_begins_where_it_is_said(served):
    all_of_it = told(served("/v1/events?wait=false&after=0"))
    assert [one["id"] for one in all_of_it] == list(range(1, len(all_of_it) + 1))
    again = told(served("/v1/events?wait=false&after=0", last_event_id="4"))
    assert again == all_of_it[4:]
    run = told(served("/v1/events?wait=false&campaign=latest"))
    assert (run[0]["sentence"], run[-1]["kind"] in ("ended", "free")) == ("c1 a run began", True)
    assert sum(one["kind"] == "measured" for one in run) == 18
    of_a = told(served("/v1/events?wait=false&campaign=c1&device=a"))
    assert {one["device"] for one in of_a} == {"a"}
    assert told(served("/v1/events?wait=false")) == []


@pytest.mark.parametrize(
    ("query", "status"),
    [("campaign=c9", 404), ("device=pi", 404), ("after=-1", 422), (f"after={2**63}", 422)],
)
def test_what_is_wrong_is_said(served, query, status):
    assert served(f"/v1/events?{query}").status == status


def test_one_that_reads_nothing_holds_up_nobody(tmp_path):
    (tmp_path / "cluster.yaml").write_text(FAKES)
    with running(Farm.open(tmp_path / "cluster.yaml")) as url, ExitStack() as ended:
        where = urlsplit(url)
        for _ in range(20):
            deaf = socket.create_connection((where.hostname, where.port))
            ended.callback(deaf.close)
            asks = f"Host: {where.netloc}\r\nAuthorization: Bearer {KEY}\r\n\r\n"
            deaf.sendall(f"GET /v1/events?after=0 HTTP/1.1\r\n{asks}".encode())
        client = Client(url, Served(url, tmp_path).token("ann", "reader"))
        heard = [(device, client.events(device=device, after=0)) for device in ("a", "b", None)]
        with closing(sqlite3.connect(tmp_path / "results" / "farm.db")) as db, db:
            rows = [(n, "ab"[n % 2], "x" * 500) for n in range(1, 5001)]
            sql = "INSERT INTO events VALUES (?, '2026', 'lost', NULL, ?, NULL, ?)"
            db.executemany(sql, rows)
        for device, stream in heard:
            ids = [event.id for event in islice(stream, 2000)]
            assert ids == [n for n, own, _ in rows if device in (own, None)][:2000]
            stream.close()


def test_a_client_hears_a_campaign_out(served):
    client = Client(served.url, served.token("listener", "reader"))
    heard = list(client.events("latest"))
    assert heard == list(served.farm.events("c1"))
    assert heard[-1].sentence == "c1 a run ended: 18 measured, 0 failed"
    with pytest.raises(UnknownName, match="no campaign 'c9'"):
        next(client.events("c9"))
