"""How precisely networks are measured: by what a second of the device tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from farm.campaign.planning import Launch, planned
from farm.farm import Farm
from farm.measurement.spec import MeasureSpec
from farm.prediction.decider import Decider
from farm.prediction.decisions import Decision, Question
from farm.prediction.precision import COARSER, Expense, most_telling
from farm.store import Store
from predictors import FloatArray
from tests import database

CLUSTER = """\
store: results
devices:
  raspi4: {kind: replay}
"""

FEATURES = np.linspace(0, 3, 40)[:, None]
LATENCY_S = np.full(40, 5e-3)


@dataclass(frozen=True)
class Smooth:
    """A belief whose networks tell of each other; in log-seconds. std: of what is unknown."""

    std: float
    noise_variance: float = 0.0

    def covariance(self, a: FloatArray, b: FloatArray) -> FloatArray:
        return np.asarray(self.std**2 * np.exp(-((a - b.T) ** 2)))

    def variance(self, a: FloatArray) -> FloatArray:
        return np.full(len(a), self.std**2)

    def variance_of(self, noise_std: float) -> float:
        return noise_std**2


def chosen(belief: Smooth, expense: Expense, own: MeasureSpec | None = None) -> MeasureSpec:
    return most_telling(own or MeasureSpec(), expense, belief, FEATURES, LATENCY_S)


class TestMostTelling:
    def test_where_much_is_unknown_many_networks_tell_more_than_precise_ones(self) -> None:
        assert chosen(Smooth(0.3), Expense()).half_width in COARSER

    def test_where_little_is_unknown_and_building_takes_long_precise_ones_do(self) -> None:
        assert chosen(Smooth(0.001), Expense(build_s=20.0)) == MeasureSpec()

    def test_a_device_that_is_coarse_by_itself_stays_as_it_is(self) -> None:
        own = MeasureSpec().at_precision(max(COARSER))
        assert chosen(Smooth(0.3), Expense(), own) == own


class TestExpense:
    def test_slow_networks_cost_more(self) -> None:
        seconds = Expense().price_s(MeasureSpec(), np.array([1e-4, 5e-3, 1.0]))
        assert seconds / MeasureSpec.min_sessions == pytest.approx([0.65, 0.65, 9.5])

    def test_sessions_that_differ_more_are_more(self) -> None:
        spec = MeasureSpec()
        few, more, most = (spec.sessions(spread) for spread in (0.001, 0.015, 0.5))
        assert (few, most) == (spec.min_sessions, spec.max_sessions)
        assert few < more < most

    def test_is_learnt_from_what_was_measured(self, farm: Farm) -> None:
        with farm.store() as store:
            known = store.measurements(device="raspi4")
        seconds = Expense.of(known, 3.0)
        assert seconds.build_s == 3.0
        for m in known:  # a replay device takes what the spec grants, rounded up to whole samples
            expected_s = len(m.warmup_s) * seconds.price_s(
                replace(m.spec, min_sessions=1, half_width=0.9), np.array([m.latency_s])
            ) - 3.0 * (len(m.warmup_s) - 1)
            assert float(expected_s[0]) - 3.0 == pytest.approx(m.device_s, rel=0.1)

    def test_of_too_few_is_what_the_spec_grants(self) -> None:
        assert Expense.of([], 2.0) == Expense(build_s=2.0)


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    """With a campaign that chose how precisely it measured."""
    folder = tmp_path_factory.mktemp("farm")
    (folder / "cluster.yaml").write_text(CLUSTER)
    farm = Farm.open(folder / "cluster.yaml")
    farm.launch(Launch(space="nb201", devices=["raspi4"], budget=12, holdout=4), "inline")
    return farm


@pytest.fixture
def store(farm: Farm) -> Iterator[Store]:
    with farm.store() as store:
        yield store


class TestCampaigns:
    def decided(self, farm: Farm, store: Store, **asked: object) -> Decision:
        options = {"budget": 20, "seed": 5, **asked}
        launch = Launch(space="nb201", devices=["raspi4"], **options)  # type: ignore[arg-type]
        campaign = store.add_campaign(planned(launch, farm.config).plan)
        return Decider(store, farm.config).decide(Question(campaign, "raspi4", 4))

    def test_what_judges_is_measured_as_precisely_as_the_device_does(self, store: Store) -> None:
        own = MeasureSpec()
        assert {m.spec for m in store.measurements("c1", "holdout")} == {own}
        learnt = store.measurements("c1", "learn")
        assert len(learnt) == 12
        assert {m.spec.half_width for m in learnt} <= set(COARSER)
        assert max(m.device_s for m in learnt) < min(
            m.device_s for m in store.measurements("c1", "holdout")
        )
        assert all(m.verdict == "ok" for m in learnt)

    def test_the_request_says_how_precisely(self, store: Store) -> None:
        sql = "SELECT DISTINCT half_width FROM requests WHERE campaign = 'c1' AND purpose = ?"
        asked = [database.column(store, sql.replace("?", f"'{p}'")) for p in ("holdout", "learn")]
        assert asked[0] == [None]
        assert set(asked[1]) <= set(COARSER)

    def test_it_is_said_why(self, farm: Farm, store: Store) -> None:
        decision = self.decided(farm, store)
        assert decision.half_width in COARSER
        assert f"to {100 * (decision.half_width or 0):g} % each" in decision.why

    @pytest.mark.parametrize("asked", [{"precision": 0.01}, {"select": "random"}])
    def test_who_says_how_precisely_has_the_last_word(
        self, farm: Farm, store: Store, asked: dict[str, object]
    ) -> None:
        assert self.decided(farm, store, **asked).half_width is None

    def test_where_all_are_measured_none_is_measured_less_precisely(
        self, farm: Farm, store: Store
    ) -> None:
        """Nothing is left to predict: a latency is wanted for itself."""
        launch = Launch(space="nb201", devices=["raspi4"], budget=6, holdout=2)
        plan = planned(launch, farm.config).plan
        codes = tuple(m.network.code for m in store.measurements("c1"))[:8]
        campaign = store.add_campaign(replace(plan, networks=codes, fresh=True))
        decision = Decider(store, farm.config).decide(Question(campaign, "raspi4", 6))
        assert len(decision.networks) == 6
        assert decision.half_width is None
