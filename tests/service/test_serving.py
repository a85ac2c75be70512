"""The command: it listens where it may, says where the key is, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from farm.core.errors import UsageError
from farm.farm import Farm
from farm.service.serving import KEY_FILE, Where, serve
from farm.store import Store
from tests.conftest import FAKES

ROOT = Path(__file__).parents[2]


@pytest.fixture
def own(tmp_path):
    (tmp_path / "cluster.yaml").write_text(FAKES)
    return Farm.open(tmp_path / "cluster.yaml")


@pytest.mark.slow
def test_it_answers_its_owner_and_ends_when_told(own):
    folder = own.config.path.parent
    script = """import sys; from farm.cli import main
sys.argv = ["farm", "serve", "--port", "0", "--json"]; main()"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        said = json.loads(server.stdout.readline())
        key_file = Path(said["key_file"])
        key = json.loads(key_file.read_text())["key"]
        mode = stat.S_IMODE(key_file.stat().st_mode)
        asked = Request(said["url"] + "/v1/devices", headers={"Authorization": f"Bearer {key}"})
        with urlopen(asked, timeout=60) as reply:
            devices = json.load(reply)["devices"]
        server.send_signal(signal.SIGTERM)
        _, err = server.communicate(timeout=60)
    assert (key_file, mode) == (folder / "results" / KEY_FILE, 0o600)
    assert len(devices) == 3
    assert not key_file.exists()
    assert key not in err
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert [line["path"] for line in lines] == ["/v1/devices"]


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (Where(host="0.0.0.0"), "say --remote as well"),
        (Where(host="farm.example"), "say --remote as well"),
        (Where(host="0.0.0.0", remote=True), "there is none that holds"),
        (Where(host="192.0.2.1", remote=True), "none that holds"),
    ],
)
def test_other_computers_are_let_in_on_purpose_alone(own, where, words):
    with Store(own.config.store) as store:
        store.add_token("old", "admin", lasts_s=-1)
    with pytest.raises(UsageError, match=words):
        serve(own, where, begun=pytest.fail)
    assert not (own.config.store / KEY_FILE).exists()


def test_a_port_that_is_taken_or_none(own):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = Where(port=other.getsockname()[1])
        with pytest.raises(UsageError, match="choose another --host or --port"):
            serve(own, taken, begun=pytest.fail)
    with pytest.raises(UsageError, match="0 to 65535, got 70000"):
        Where(port=70000)


def test_names_that_it_may_be_asked_for_by():
    assert Where().called == {"127.0.0.1"}
    assert Where(names=("Farm.Example",)).called == {"127.0.0.1", "farm.example"}
    assert Where(host="0.0.0.0", remote=True).called is None


def test_tokens_from_the_command_line(farm):
    code, out, _ = farm("token", "create", "ann", "--expires", "30d", "--json")
    made = json.loads(out)
    assert (code, made["name"], made["role"]) == (0, "ann", "reader")
    _, out, _ = farm("token", "list", "--json")
    (listed,) = json.loads(out)["tokens"]
    assert (listed["name"], listed["state"]) == ("ann", "valid")
    assert listed["expires_at"] > listed["created_at"]
    assert made["token"] not in out
    assert farm("token", "revoke", "ann")[0] == 0
    assert '"revoked"' in farm("token", "list", "--json")[1]
    for words in (("create", "b", "--expires", "soon"), ("create", "B"), ("revoke", "ann")):
        code, _, err = farm("token", *words)
        assert (code, err.count("\n")) == (2, 1)
