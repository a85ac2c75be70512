"""Who holds a device or runs a campaign, as commands of other processes show it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from farm.store import Holding, Store

LAUNCH = ("launch", "--devices", "a", "--budget", "2", "--holdout", "1", "--executor", "inline")


def test_who_holds_a_device_is_shown(farm):
    farm(*LAUNCH)
    me = f"process {os.getpid()} on {os.uname().nodename} (farm hwl), until "
    with Store(Path("results")) as store, Holding(store, "farm hwl") as holding:
        assert json.loads(farm("device", "list", "--json")[1])["devices"][0]["held_by"] is None
        holding.wait_for_devices(["a"])
        for words in (("device", "list"), ("device", "show", "a"), ("campaign", "show", "c1")):
            code, out, _ = farm(*words)
            assert (code, f"a is held by {me}" in out) == (0, True), words
        devices = json.loads(farm("device", "list", "--json")[1])["devices"]
        held = {one["name"]: one["held_by"] for one in devices}
        assert (held["a"]["pid"], held["a"]["doing"], held["b"]) == (os.getpid(), "farm hwl", None)
        shown = json.loads(farm("device", "show", "a", "--json")[1])["held_by"]
        # The lease is renewed between two looks, so that it ends later.
        assert shown | {"until": ""} == held["a"] | {"until": ""}


def test_who_runs_a_campaign_is_shown_and_nobody_else_resumes_it(farm):
    farm(*LAUNCH)
    with Store(Path("results")) as store, Holding(store, "farm launch") as holding:
        holding.run("c1")
        assert "It is run by process " in farm("campaign", "show", "c1")[1]
        assert "running" in farm("campaign", "list")[1]
        shown = json.loads(farm("campaign", "show", "--json")[1])
        assert (shown["run_by"]["campaign"], shown["run_by"]["pid"]) == ("c1", os.getpid())
        code, out, err = farm("campaign", "resume", "c1", "--executor", "inline")
        assert (code, out) == (1, "")
        assert err == (
            f"farm: c1 is run by process {os.getpid()} on {os.uname().nodename} (farm launch, "
            "campaign c1); wait for it, or end it with `farm campaign cancel c1`\n"
        )
    assert json.loads(farm("campaign", "show", "--json")[1])["run_by"] is None
