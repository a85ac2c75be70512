"""Leases: the rule with clocks passed in, and real processes that die, stop and come back."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from farm.core.errors import Leased, LeaseLost
from farm.store import Holding, Store, holding
from farm.store.connection import connect
from farm.store.lease import Lease, Owner, in_the_way, in_turn
from farm.store.leases import renew
from tests.store.test_store import PLAN

OWNERS = 3
LASTS_S = 10.0


class Processes(RuleBasedStateMachine):
    """Processes that ask for devices, measure, die, and are stopped for a while.

    A model beside the store: `waiting` and `granted` are claims with their devices and owners.
    """

    folder: Path
    examples = 0

    def __init__(self) -> None:
        super().__init__()
        Processes.examples += 1
        self.stores = [Store(self.folder) for _ in range(OWNERS)]
        self.owners = [Owner(f"{self.examples}/{n}", "box", n, "", "") for n in range(OWNERS)]
        self.now_s = 1e9
        self.expires_s: dict[int, float] = {}
        self.waiting: dict[int, tuple[int, frozenset[str]]] = {}
        self.granted: dict[int, tuple[int, frozenset[str]]] = {}
        self.lost: set[int] = set()
        self.dead: set[int] = set()
        self.tokens: dict[str, int] = {}

    def teardown(self) -> None:
        for store in self.stores:
            store.__exit__()

    def sound(self, claim: int) -> bool:
        owner, _ = {**self.waiting, **self.granted}[claim]
        return self.expires_s[claim] > self.now_s and owner not in self.dead

    def has_lost(self, owner: int) -> bool:
        mine = {claim for claim, (whose, _) in self.granted.items() if whose == owner}
        return bool(mine & self.lost)

    def takers(self) -> list[int]:
        return [claim for claim, (owner, _) in self.waiting.items() if owner not in self.dead]

    @rule(owner=st.integers(0, OWNERS - 1), names=st.sets(st.sampled_from("abc"), min_size=1))
    def ask(self, owner: int, names: set[str]) -> None:
        if owner in self.dead:
            return
        things = frozenset(f"{self.examples}/{name}" for name in names)
        claim = self.stores[owner].ask(self.owners[owner], things, self.now_s + LASTS_S)
        assert claim not in self.expires_s
        self.expires_s[claim], self.waiting[claim] = self.now_s + LASTS_S, (owner, things)
        self.taken(claim)

    @precondition(takers)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        self.taken(data.draw(st.sampled_from(self.takers())))

    def taken(self, claim: int) -> None:
        """Whether a claim is granted just when it is to be."""
        owner, things = self.waiting[claim]
        lives = lambda one: False if one.pid in self.dead else None  # noqa: E731
        if claim in self.lost:
            with pytest.raises(LeaseLost):
                self.stores[owner].take(claim, self.now_s, lives)
            del self.waiting[claim]
            return
        if self.has_lost(owner):
            with suppress(LeaseLost):
                assert self.stores[owner].take(claim, self.now_s, lives), "it knows of no loss"
            return
        before = self.stores[owner].take(claim, self.now_s, lives)
        held = {c: t for c, (_, t) in self.granted.items() if self.sound(c) and t & things}
        busy = {t for c, (_, t) in self.granted.items() if self.sound(c) for t in t}
        first = []
        for other in sorted(self.waiting):
            asked = self.waiting[other][1]
            sound = self.sound(other) and other not in self.lost
            if other < claim and sound and not asked & busy:
                busy |= asked
                first += [other] if asked & things else []
        if before:
            assert {one.claim for one in before} <= {*held, *first}
            return
        assert not held, "two hold a device"
        assert not first, "it is not its turn"
        token = {self.stores[owner].held[thing] for thing in things}
        assert len(token) == 1
        for thing in things:
            assert self.tokens.get(thing, 0) < max(token), "a token did not grow"
            self.tokens[thing] = max(token)
        for other, (whose, own) in {**self.waiting, **self.granted}.items():
            renewed = whose == owner and other in self.granted
            if other != claim and own & things and not self.sound(other) and not renewed:
                self.lost.add(other)
        for other, (whose, own) in self.granted.items():
            self.granted[other] = (whose, own - things)
        self.granted[claim] = self.waiting.pop(claim)

    @rule(owner=st.integers(0, OWNERS - 1))
    def write(self, owner: int) -> None:
        """Whoever came before or after: a write succeeds while nothing was taken over."""
        if not self.has_lost(owner):
            with self.stores[owner]._writing():
                return
        with pytest.raises(LeaseLost, match="was taken over by process"):
            self.stores[owner].add_campaign(PLAN)

    @rule(owner=st.integers(0, OWNERS - 1))
    def renew(self, owner: int) -> None:
        with closing(connect(self.stores[owner].path)) as db:
            renew(db, self.owners[owner].holder, self.now_s + LASTS_S)
        for claim, (whose, _) in {**self.waiting, **self.granted}.items():
            if whose == owner:
                self.expires_s[claim] = self.now_s + LASTS_S

    @precondition(lambda self: self.granted)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(sorted(self.granted)))
        owner, _ = self.granted.pop(claim)
        self.stores[owner].give_back(claim)

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0]))
    def go_on(self, seconds: float) -> None:
        self.now_s += seconds

    @precondition(lambda self: len(self.dead) < OWNERS - 1)
    @rule(owner=st.integers(0, OWNERS - 1))
    def die(self, owner: int) -> None:
        self.dead.add(owner)


@pytest.mark.slow
def test_one_holds_at_a_time_in_turn_and_who_is_late_writes_nothing(tmp_path):
    Processes.folder = tmp_path
    few = settings(max_examples=60, stateful_step_count=30, deadline=None)
    run_state_machine_as_test(Processes, settings=few)


def claims(*told):
    """Leases of claims 1, 2, ...: for whom, of which devices, whether granted, by when."""
    found = []
    for claim, (who, devices, *rest) in enumerate(told, 1):
        granted, deadline = [*rest, *(False, None)[len(rest) :]]
        owner = Owner("h", "box", claim, "", "", asked_by=who, deadline=deadline)
        token = claim if granted else None
        found += [Lease(claim, claim, thing, owner, 1e9, token) for thing in devices]
    return found


@pytest.mark.parametrize(
    ("told", "order"),
    [
        ([("ann", "x"), ("ann", "x"), ("bob", "x")], [1, 3, 2]),
        ([("ann", "x", True), ("ann", "x"), ("bob", "x")], [3, 2]),  # she has it already
        ([("ann", "x"), ("ann", "y"), ("bob", "y")], [1, 2, 3]),  # each device for itself
        ([("ann", "xy"), ("ann", "x"), ("ann", "y"), ("bob", "y")], [1, 4, 2, 3]),
        ([("ann", "x"), ("bob", "x"), ("ann", "x"), ("bob", "x"), ("eve", "x")], [1, 2, 5, 3, 4]),
        ([("ann", "x"), ("bob", "x", False, "2026-02"), ("ann", "x", False, "2026-01")], [3, 2, 1]),
    ],
    ids=str,
)
def test_turns_go_by_deadline_and_then_from_person_to_person(told, order):
    assert [own[0].claim for own in in_turn(claims(*told))] == order


def test_one_persons_claims_keep_their_order_where_they_want_the_same():
    """So that among themselves they are had as they were asked for."""
    waits = [("ann", "az"), ("ann", "az"), ("ann", "ab"), ("ann", "b")]
    leases = claims(*waits, ("bob", "z", True))
    never = lambda _: True  # noqa: E731
    assert [one.claim for one in in_the_way(leases, 3, 0.0, never)] == []
    assert {one.claim for one in in_the_way(leases, 4, 0.0, never)} == {3}


@pytest.mark.parametrize("late_s", [1.0, 8 * 3600.0])
def test_who_slept_with_the_computer_is_not_late(tmp_path, late_s):
    with Store(tmp_path) as mine, Store(tmp_path) as theirs:
        claim = mine.ask(Owner.here("farm launch"), ["device/a"], time.time() + LASTS_S)
        assert mine.take(claim, time.time()) == []
        awake_s = time.time() + LASTS_S + late_s
        other = theirs.ask(Owner.here("farm hwl"), ["device/a"], awake_s + LASTS_S)
        assert [one.claim for one in theirs.take(other, awake_s)] == [claim]
        assert theirs.take(other, awake_s, lambda _: None) == []  # nobody can tell


HOLDER = """
import sys
from pathlib import Path
from farm.core.errors import FarmError
from farm.store import Holding, Store, holding
from tests.store.test_store import PLAN

holding.LEASE_S = float(sys.argv[2])
with Store(Path(sys.argv[1])) as store, Holding(store, "farm launch") as held:
    held.wait_for_devices(["a"])
    print("held", flush=True)
    for line in sys.stdin:
        try:
            print(store.add_campaign(PLAN), flush=True)
        except FarmError as e:
            print(e, flush=True)
"""


@contextmanager
def process(folder: Path, lease_s: float = 60.0):
    """A process that holds device a as soon as it can, and writes when it is told to."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", HOLDER, str(folder), str(lease_s)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], **pipes) as started:
        try:
            yield started
        finally:
            started.kill()


def stop(store: Store, pid: int) -> None:
    """Stop a process outside of a write, in which nobody else could write."""
    with store._transaction():
        os.kill(pid, signal.SIGSTOP)
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.01)


def told(started: subprocess.Popen) -> str:
    started.stdin.write("write\n")
    started.stdin.flush()
    return started.stdout.readline().strip()


@pytest.mark.slow
def test_the_next_in_turn_has_what_a_killed_process_held_at_once(tmp_path, caplog):
    with Store(tmp_path) as store, Holding(store, "a test") as mine, process(tmp_path) as first:
        assert first.stdout.readline() == "held\n"
        with process(tmp_path) as second:
            while len(store.leases()) < 2:
                time.sleep(0.05)
            claim = mine.ask("device/a")
            with caplog.at_level(logging.WARNING):
                mine.wait(claim)
            assert f"waiting for a: process {first.pid} on " in caplog.text
            assert "(farm launch) has it, until " in caplog.text
            os.kill(first.pid, signal.SIGKILL)  # nobody has waited for it: it is a zombie
            assert second.stdout.readline() == "held\n"
            assert not mine.has(claim)
            assert store.holders()["device/a"].owner.pid == second.pid
            assert told(second) == "c1"
            second.stdin.close()
            second.wait()
        assert mine.has(claim)
        assert [one.token for one in store.holders().values()] == [3]


@pytest.mark.slow
def test_who_was_stopped_for_too_long_writes_nothing_any_more(tmp_path):
    with Store(tmp_path) as store, process(tmp_path, lease_s=0.5) as frozen:
        assert frozen.stdout.readline() == "held\n"
        assert told(frozen) == "c1"
        stop(store, frozen.pid)
        with Holding(store, "farm hwl") as mine:
            mine.wait_for_devices(["a"])
            os.kill(frozen.pid, signal.SIGCONT)
            assert told(frozen) == (
                f"a was taken over by process {os.getpid()} on {os.uname().nodename} (farm hwl), "
                "as this process did not renew its lease in time; nothing was stored since; "
                "run it again"
            )
            assert [c.id for c in store.campaigns()] == ["c1"]
            store.add_campaign(PLAN)


def test_a_lease_is_renewed_and_a_stopped_claim_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(holding, "LEASE_S", 0.6)
    with Store(tmp_path) as store, Store(tmp_path) as other:
        with Holding(store, "a test") as mine, Holding(other, "another") as theirs:
            mine.wait_for_devices(["a"])
            before = store.holders()["device/a"].expires_s
            while store.holders()["device/a"].expires_s < before + 2 * holding.LEASE_S:
                time.sleep(0.05)
            claim = theirs.ask("device/a")
            other._end("claim = ?", claim.number)
            other._db.commit()
            assert not theirs.has(claim)
            mine.run(store.add_campaign(PLAN))
            with pytest.raises(Leased, match=f"c1 is run by process {os.getpid()} on "):
                theirs.run("c1")
        assert store.holders() == {}
