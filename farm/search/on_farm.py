"""A search from what is asked to what it came to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np

from farm.campaign.planning import Launch, planned
from farm.compile.artifacts import ArtifactStore
from farm.core.errors import UsageError
from farm.core.values import Network
from farm.execution.protocol import Executor
from farm.inventory.config import FarmConfig
from farm.measurement.estimator import Z_95
from farm.measurement.record import Measurement
from farm.search.accuracy import Accuracy, Asked, Listed, Proxies, accuracy_of
from farm.search.few import Predicted
from farm.search.found import Alone, Candidate, Found, Latency
from farm.search.goals import Goal
from farm.search.laboratory import FarmLaboratory, Measuring, Models, Watch
from farm.search.rounds import FIRST, Outcome, Round, Terms, search
from farm.search.setting import Search
from farm.search.strategies import Looking
from farm.search.verify import Costs, Known
from farm.search.ways import STRATEGIES
from farm.spaces import space
from farm.spaces.base import GraphSpace, SearchSpace
from farm.store import Holding, Plan, Store
from predictors import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Prepared:
    """A search whose words are all understood."""

    asked: Search
    plan: Plan
    searched: SearchSpace
    accuracy: Accuracy
    config: FarmConfig

    @classmethod
    def of(cls, asked: Search, config: FarmConfig) -> Prepared:
        """Raises UsageError and UnknownName."""
        devices = list(asked.devices)
        launch = Launch(
            space=asked.space,
            devices=devices,
            budget=asked.budget,
            holdout=0,
            seed=asked.seed,
            kernels=False,
        )
        plan = planned(launch, config).plan
        searched = space(plan.space)
        accuracy = accuracy_of(asked.accuracy, searched, asked.seed)
        if isinstance(accuracy, Proxies) and asked.strategy not in ("random", "exhaustive"):
            raise UsageError(
                f"{asked.accuracy} ranks networks among each other, which --strategy "
                f"{asked.strategy} cannot use; take random, or a single proxy"
            )
        if accuracy.listed:
            asked.must_suit(accuracy(accuracy.listed))
        if isinstance(accuracy, Asked):
            # A function that always fails is refused before anything is stored.
            accuracy(searched.sample(1, np.random.default_rng(asked.seed)))
        plan = replace(plan, coarser=False, search=asked.to_json())
        return cls(asked, plan, searched, accuracy, config)

    def run(
        self,
        holding: Holding,
        executor: Executor,
        artifacts: ArtifactStore,
        watch: Watch = lambda _: None,
        begun: Callable[[str], None] = lambda _: None,
    ) -> Found:
        """Search, or go on with the same search that was cut short."""
        store = holding.store
        name = self._campaign(store)
        holding.run(name)
        begun(name)
        run = store.begin_run(name)
        measuring = Measuring(name, holding, self.config, executor, artifacts)
        measuring.finish(lambda: None)
        candidates = self._candidates(measuring, watch)
        laboratory = FarmLaboratory(measuring, self.searched, candidates, watch)
        accuracy = self.accuracy(candidates)
        outcome = self._search(laboratory, measuring, accuracy)
        measuring.close()
        said = "the front is stable" if outcome.stable else "the search has ended"
        for device in self.plan.devices:
            store.stop(name, device, said)
        store.end_run(run)
        return _Told(self, measuring, candidates, accuracy, outcome).found()

    def _campaign(self, store: Store) -> str:
        """The search's campaign: a new one, unless the same search was cut short."""
        for stored in reversed(store.campaigns()):
            if stored.plan == self.plan and stored.state != "done":
                return stored.id
        return store.add_campaign(self.plan)

    def _search(
        self, laboratory: FarmLaboratory, measuring: Measuring, accuracy: FloatArray
    ) -> Outcome:
        others = len(measuring.asked()) - len(laboratory.asked())
        budget = self.asked.budget - others
        asked = self.asked
        terms = Terms(budget, asked.confidence, asked.seed, first=0, at_once=asked.at_once)

        def told(one: Round) -> None:
            laboratory.tell(one.chosen, one.missed)

        def goal_of(cost: FloatArray) -> Goal:
            return self.asked.goal(cost, accuracy)

        return search(laboratory, accuracy, Costs(self.asked.limit_s), goal_of, terms, told)

    def _candidates(self, measuring: Measuring, watch: Watch) -> Sequence[Network]:
        """The networks to choose among. A device that too little is known of is measured first."""
        listed = self.accuracy.listed
        if listed is not None:
            listed = self._without_twins(listed)
        about = listed or measuring.predictor.whole(self.searched).pool
        laboratory = FarmLaboratory(measuring, self.searched, about, watch)
        if note := self._note():
            laboratory.say(note)
        self._begin(laboratory, measuring)
        if listed is not None:
            return listed
        # Nothing is told meanwhile, and a proxy takes seconds for each.
        laboratory.say(f"now the accuracies of at most {self.asked.evaluations} networks are found")
        models = Models(measuring, self.searched)
        costs = Costs(self.asked.limit_s)
        proxy = self.asked.warm_start and accuracy_of(
            f"proxy:{self.asked.warm_start}", self.searched, self.asked.seed
        )
        looking = Looking(
            cast(GraphSpace, self.searched),
            lambda networks: costs.of_logs(models.of(networks).mean),
            self.accuracy,
            self.asked.goal(np.ones(1), np.zeros(1)),
            proxy or None,
        )
        rng = np.random.default_rng(self.asked.seed)
        found = STRATEGIES[self.asked.strategy](looking, self.asked.evaluations, rng)
        if isinstance(self.accuracy, Predicted):
            return self._without_twins(list(dict.fromkeys([*self.accuracy.trained, *found])))
        return found

    def _note(self) -> str | None:
        """That a file leaves networks out, which nobody would look at."""
        own = self.accuracy
        if not isinstance(own, Listed) or not own.name or len(own.of) >= self.searched.size:
            return None
        return (
            f"{own.name} has {len(own.of)} networks, and the search chooses among these alone; "
            f"--accuracy predicted:{own.name} predicts the others from them"
        )

    def _begin(self, laboratory: FarmLaboratory, measuring: Measuring) -> None:
        """Measure a few networks on devices that are not known yet."""
        learnt = Models(measuring, self.searched).learnt
        short = FIRST - min(learnt.values())
        short = min(short, self.asked.budget, len(laboratory.candidates))
        if short > 0:
            unknown = [device for device, networks in learnt.items() if networks < FIRST]
            laboratory.say(
                f"too little is known of {', '.join(unknown)} to predict from: "
                f"{short} networks are measured first"
            )
            laboratory.measure(laboratory.telling(short))

    def _without_twins(self, networks: Sequence[Network]) -> Sequence[Network]:
        """Of networks with one graph the most accurate."""
        if not hasattr(self.searched, "representatives"):
            return networks
        best: dict[Network, tuple[float, Network]] = {}
        same = cast(GraphSpace, self.searched).representatives(networks)
        for network, one, value in zip(networks, same, self.accuracy(networks), strict=True):
            if one not in best or value > best[one][0]:
                best[one] = (float(value), network)
        return [network for _, network in best.values()]


@dataclass(frozen=True, eq=False)
class _Told:
    """An outcome in words of networks and devices."""

    prepared: Prepared
    measuring: Measuring
    candidates: Sequence[Network]
    accuracy: FloatArray
    outcome: Outcome

    def found(self) -> Found:
        asked, outcome = self.prepared.asked, self.outcome
        limited = asked.max_latency_s is not None
        limits = dict(zip(asked.devices, asked.limit_s.tolist(), strict=True)) if limited else {}
        nearest, source = None, self.prepared.accuracy
        if not len(outcome.chosen) and len(outcome.known.rows):
            nearest = self._told([outcome.known.rows[int(np.argmin(outcome.known.cost))]])[0]
        return Found(
            campaign=self.measuring.campaign,
            space=self.prepared.searched.name,
            pareto=asked.pareto,
            limit_s=limits,
            candidates=len(self.candidates),
            measured=len(self.measuring.asked()),
            budget=asked.budget,
            confidence=asked.confidence,
            missed=outcome.rounds[-1].missed or 0.0,
            stable=outcome.stable,
            front=self._told(outcome.chosen),
            alone=self._alone(limited),
            nearest=nearest,
            surety=source.surety if isinstance(source, Predicted) else None,
        )

    def _alone(self, limited: bool) -> Alone:
        """What prediction alone would have chosen, at the costs that are known now."""
        cost = Costs(self.prepared.asked.limit_s).of_logs(self.outcome.belief.mean)
        cost[self.outcome.known.rows] = self.outcome.known.cost
        rows = self.outcome.predicted
        ours, theirs = (self._value(Known(own, cost[own])) for own in (self.outcome.chosen, rows))
        over = int((cost[rows] > 1).sum()) if limited else 0
        return Alone(self._told(rows), over, 1 - theirs / ours if ours > 0 else 0.0)

    def _value(self, known: Known) -> float:
        own = self.accuracy[known.rows]
        return float(self.outcome.goal.value(known.cost[None], own)[0])

    def _told(self, rows: Sequence[int] | IntArray) -> tuple[Candidate, ...]:
        devices, each = self.prepared.plan.devices, self.measuring.measured()
        found = []
        for row in rows:
            network = self.candidates[row]
            on = {
                device: _measured(own[network]) if network in own else self._predicted(d, row)
                for d, (device, own) in enumerate(zip(devices, each, strict=True))
            }
            off = 0.0 if self._off is None else float(self._off[row])
            found.append(Candidate(network, float(self.accuracy[row]), on, off))
        return tuple(found)

    @cached_property
    def _off(self) -> FloatArray | None:
        """(N,), of accuracies; None where they are not predicted."""
        source = self.prepared.accuracy
        return source.off(self.candidates) if isinstance(source, Predicted) else None

    def _predicted(self, device: int, row: int) -> Latency:
        mean = float(self.outcome.belief.mean[device, row])
        half = Z_95 * float(self.outcome.belief.std[device, row])
        low_s, latency_s, high_s = np.exp([mean - half, mean, mean + half]).tolist()
        return Latency(latency_s, low_s, high_s, measured=False)


def _measured(m: Measurement) -> Latency:
    low_s, high_s = m.interval_s
    return Latency(m.latency_s, low_s, high_s, measured=True, verdict=m.verdict)
