"""The supervisor of a device: what it keeps, for whom, and how it ends. Reached over a real SSH."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from base64 import b64encode
from pathlib import Path

import psutil
import pytest

from agents.pipes import DEVICE_FILES, result_of
from agents.remote import pipe as remote_pipe
from agents.remote import upload
from agents.remote.pipe import SshPipe
from agents.remote.upload import Payload, library, send
from farm.core.errors import DeviceBusy, DeviceError, DeviceLost, DeviceUnfit

pytestmark = pytest.mark.slow

MIB = 1024**2


@pytest.fixture
def connect(ssh_server, ssh_entry):
    """Opens pipes to the device, which are closed after the test."""
    opened = []

    def connect() -> SshPipe:
        server = ssh_server
        pipe = SshPipe(server.address, server.key, server.host_key, ssh_entry["python"])
        opened.append(pipe)
        return pipe

    yield connect
    for pipe in opened:
        pipe.close()


@pytest.fixture
def folder(ssh_server) -> Path:
    return ssh_server.home / ".latency-farm"


def ask(pipe: SshPipe, op: str, **message):
    return result_of(pipe.request({"op": op, **message}, 60))


def hold(pipe: SshPipe, token: str = "a", **changes):
    values = {"folder": ".latency-farm", "limit_bytes": 64 * MIB, "lease_s": 60, "patience_s": 0.3}
    ask(pipe, "hold", owner={"token": token, "name": f"{token}@farm"}, **{**values, **changes})


def holder(folder: Path) -> dict:
    return json.loads((folder / "lock").read_text())


def test_probing_writes_nothing(connect, ssh_server):
    seen = ask(connect(), "probe", folder="there")
    assert seen["folder"] == str(ssh_server.home / "there")
    assert not seen["folder_is_there"]
    assert seen["pointer_bits"] == 64
    assert seen["free_bytes"] > 0
    assert list(ssh_server.home.iterdir()) == []


class TestHolding:
    def test_files_of_somebody_else_are_not_taken_over(self, connect, folder):
        folder.mkdir()
        (folder / "thesis.tex").write_text("years of work")
        with pytest.raises(DeviceUnfit, match=r"not the farm's; give the device another folder"):
            hold(connect())
        assert [path.name for path in folder.iterdir()] == ["thesis.tex"]

    def test_a_folder_needs_a_place(self, connect):
        with pytest.raises(DeviceUnfit, match=r"No such file or directory: .*nowhere/here"):
            hold(connect(), folder="nowhere/here")

    def test_a_second_farm_is_told_who_was_first_and_harms_nobody(self, connect):
        first, second = connect(), connect()
        hold(first, "a")
        with pytest.raises(DeviceBusy, match=r"is in use by a@farm since 20\d\d-.* UTC"):
            hold(second, "b")
        assert ask(first, "have", name=f"{0:064}.so", size_bytes=1) == {"bytes": 0}
        first.close()
        hold(second, "b", patience_s=10)

    def test_a_farm_that_comes_back_ends_what_it_had_left(self, connect, folder):
        before = connect()
        hold(before)
        folders = [send(before, upload.runner()), str(folder / "content")]
        ask(before, "start", runner=f"{folders[0]}/runner.py", runtime=folders[1])
        orphans = [psutil.Process(holder(folder)[key]) for key in ("supervisor", "runner")]
        after = connect()
        hold(after)
        psutil.wait_procs(orphans, timeout=10)
        assert not any(orphan.is_running() for orphan in orphans)
        assert holder(folder)["token"] == "a"
        with pytest.raises(DeviceLost):
            ask(before, "ping")

    def test_a_runner_ends_with_its_supervisor_and_the_lock_with_both(self, connect, folder):
        pipe = connect()
        hold(pipe)
        path = send(pipe, upload.runner())
        ask(pipe, "start", runner=f"{path}/runner.py", runtime=str(folder))
        os.kill(holder(folder)["supervisor"], signal.SIGKILL)
        with pytest.raises(DeviceLost, match="ended with"):
            ask(pipe, "ping")
        hold(connect(), "b", patience_s=10)

    def test_the_device_is_free_when_the_farm_is_silent(self, connect, monkeypatch):
        monkeypatch.setattr(remote_pipe, "BEAT_S", 60.0)
        silent = connect()
        hold(silent, lease_s=0.5)
        hold(connect(), "b", patience_s=10)
        with pytest.raises(DeviceLost, match=r"nothing was heard of the farm for 0\.5 s"):
            ask(silent, "ping")

    def test_pings_keep_it(self, connect, monkeypatch):
        monkeypatch.setattr(remote_pipe, "BEAT_S", 0.1)
        pipe = connect()
        hold(pipe, lease_s=1.0)
        time.sleep(2.5)
        assert ask(pipe, "ping") == {}

    def test_purging_deletes_the_folder(self, connect, ssh_server):
        pipe = connect()
        hold(pipe)
        send(pipe, library(b"network"))
        ask(pipe, "purge")
        assert list(ssh_server.home.iterdir()) == []


class TestContent:
    def test_goes_on_where_a_link_broke(self, connect, monkeypatch):
        payload = library(os.urandom(100_000))
        first = connect()
        hold(first)
        size = {"name": payload.name, "size_bytes": 100_000, "room_bytes": 100_000}
        piece = b64encode(payload.data[:30_000]).decode()
        assert ask(first, "put", offset=0, data=piece, **size) == {"bytes": 30_000}
        first.close()
        second = connect()
        hold(second, patience_s=10)
        sent = []
        request = second.request
        monkeypatch.setattr(second, "request", lambda m, s: sent.append(m) or request(m, s))
        path = Path(send(second, payload))
        assert path.read_bytes() == payload.data
        assert [m["offset"] for m in sent if m["op"] == "put"] == [30_000, 30_000 + 48 * 1024]

    def test_is_sent_once(self, connect, monkeypatch):
        pipe, payload = connect(), library(b"network")
        hold(pipe)
        path = send(pipe, payload)
        monkeypatch.setattr(upload, "b64encode", None)
        assert send(pipe, payload) == path
        assert Path(path).name == f"{hashlib.sha256(b'network').hexdigest()}.so"

    def test_that_was_damaged_on_the_way_is_refused_and_sent_again(self, connect, folder):
        pipe, payload = connect(), library(b"network")
        hold(pipe)
        wrong = Payload(payload.name, b"notwork", payload.room_bytes)
        with pytest.raises(DeviceError, match="did not arrive as it was sent"):
            send(pipe, wrong)
        assert list((folder / "parts").iterdir()) == []
        assert Path(send(pipe, payload)).read_bytes() == b"network"

    def test_that_lost_its_end_is_sent_again(self, connect):
        pipe, payload = connect(), library(b"network")
        hold(pipe)
        path = Path(send(pipe, payload))
        path.write_bytes(b"net")
        assert send(pipe, payload) == str(path)
        assert path.read_bytes() == b"network"

    def test_is_unpacked_whole(self, connect):
        pipe = connect()
        hold(pipe)
        path = Path(send(pipe, upload.runner()))
        for file in DEVICE_FILES:
            assert (path / file.name).read_bytes() == file.read_bytes()

    def test_that_is_longest_unused_makes_room(self, connect):
        payloads = [library(bytes([n]) * MIB) for n in range(3)]
        earlier = connect()
        hold(earlier, limit_bytes=3 * MIB)
        paths = [Path(send(earlier, payload)) for payload in payloads]
        for age_s, path in zip((300, 100, 200), paths, strict=True):
            os.utime(path, (0, time.time() - age_s))
        earlier.close()
        pipe = connect()
        hold(pipe, limit_bytes=3 * MIB, patience_s=10)
        send(pipe, payloads[0])
        new = Path(send(pipe, library(b"x" * MIB)))
        assert [path.exists() for path in [*paths, new]] == [True, True, False, True]

    def test_without_room_is_refused_with_figures(self, connect, folder):
        pipe = connect()
        hold(pipe)
        with pytest.raises(DeviceUnfit, match=r"needs 1125899906\.8 MB, \d+\.\d MB are free"):
            send(pipe, Payload(library(b"network").name, b"network", 1 << 50))
        assert list((folder / "parts").iterdir()) == []


def test_without_a_runner_its_requests_are_refused(connect):
    with pytest.raises(DeviceError, match="there is no runner for 'session'"):
        ask(connect(), "session")


class TestContentIsSafe:
    @pytest.mark.parametrize(
        "name", ["..", "../../x.so", "/etc/passwd", "x.so", f"{0:064}.so/../y", ""]
    )
    def test_no_name_leads_out_of_the_folder(self, connect, folder, name):
        pipe = connect()
        hold(pipe)
        for op in ("have", "put"):
            with pytest.raises(DeviceError, match="a payload is named SHA-256"):
                ask(pipe, op, name=name, size_bytes=1, room_bytes=1, offset=0, data="eA==")
        assert {path.name for path in folder.rglob("*")} == {"lock", "content", "parts"}

    def test_a_file_that_a_card_forgot_is_sent_again(self, connect):
        pipe, payload = connect(), library(b"network")
        hold(pipe)
        path = Path(send(pipe, payload))
        path.write_bytes(b"notwork")
        assert Path(send(pipe, payload)).read_bytes() == b"network"

    def test_a_lock_is_no_link(self, connect, folder, tmp_path):
        folder.mkdir()
        (tmp_path / "elsewhere").touch()
        (folder / "lock").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(DeviceError, match="lock"):
            hold(connect())
        assert (tmp_path / "elsewhere").read_text() == ""


def test_a_line_that_is_no_request_is_answered_and_ends_nothing(connect):
    pipe = connect()
    for message in ({"op": "hold"}, {"op": "hold", "folder": 5}, {"op": "probe", "folder": "~x/y"}):
        with pytest.raises(DeviceError):
            result_of(pipe.request(message, 60))
    with pytest.raises(DeviceError, match="`lease_s` must be from 0 to 86400, got inf"):
        hold(pipe, lease_s=float("inf"))
    assert ask(pipe, "ping") == {}
