"""What the central predictor decides: over real stores of campaigns on published latencies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from farm.campaign.planning import Launch, planned
from farm.farm import Farm
from farm.prediction import goals
from farm.prediction.central import CentralPredictor
from farm.prediction.decider import Decider
from farm.prediction.decisions import Decision, Question
from farm.prediction.evaluation import Judgement, Prediction
from farm.prediction.selection import Candidates
from farm.spaces import space
from farm.store import Plan, Store
from predictors import FloatArray, metrics

CLUSTER = """\
measure: {block_s: 0.001, min_sessions: 2, max_sessions: 2}
devices:
  raspi4: {kind: replay}
  fpga: {kind: replay, noise: 0}
  gold_6226: {kind: replay}
"""

NB201 = space("nb201")


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    """One with a campaign of twelve networks, and four that judge, on two of its devices."""
    folder = tmp_path_factory.mktemp("farm")
    (folder / "cluster.yaml").write_text(CLUSTER)
    farm = Farm.open(folder / "cluster.yaml")
    asked = Launch(space="nb201", devices=["raspi4", "fpga"], budget=12, holdout=4)
    farm.launch(asked, "inline")
    return farm


@pytest.fixture
def store(farm: Farm) -> Iterator[Store]:
    with farm.store() as store:
        yield store


def begun(farm: Farm, store: Store, device: str, **asked: object) -> Question:
    """The first question of another campaign."""
    options = {"budget": 40, "holdout": 4, "seed": 7, **asked}
    launch = Launch(space="nb201", devices=[device], **options)  # type: ignore[arg-type]
    campaign = store.add_campaign(planned(launch, farm.config).plan)
    return Question(campaign, device, 6)


def decided(farm: Farm, store: Store, question: Question) -> Decision:
    return Decider(store, farm.config).decide(question)  # the store is the fixture's


def test_equal_rows_lead_to_equal_choices(farm: Farm, store: Store) -> None:
    question = begun(farm, store, "raspi4")
    first, second = (decided(farm, store, question) for _ in range(2))
    assert first == second
    assert len(set(first.networks)) == 6


@pytest.mark.parametrize("device", ["raspi4", "gold_6226"])
def test_what_is_in_flight_is_not_chosen_again(farm: Farm, store: Store, device: str) -> None:
    question = begun(farm, store, device)
    first = decided(farm, store, question).networks
    second = decided(farm, store, replace(question, taken=first)).networks
    assert not set(first) & set(second)


def test_what_ended_without_use_is_not_chosen_again(farm: Farm, store: Store) -> None:
    question = begun(farm, store, "gold_6226")
    first = decided(farm, store, question).networks
    second = decided(farm, store, replace(question, ended=first)).networks
    assert not set(first) & set(second)


def test_a_batch_in_two_parts_is_that_batch(farm: Farm, store: Store) -> None:
    """What is in flight counts as observed."""
    question = begun(farm, store, "gold_6226")
    whole = decided(farm, store, replace(question, more=4)).networks
    begin = decided(farm, store, replace(question, more=2)).networks
    rest = decided(farm, store, replace(question, more=2, taken=begin)).networks
    assert whole == begin + rest


def test_what_is_known_is_not_chosen(farm: Farm, store: Store) -> None:
    known = {m.network for m in store.measurements(device="raspi4")}
    question = begun(farm, store, "raspi4", seed=0)
    assert not known & set(decided(farm, store, question).networks)


def test_fresh_measures_what_is_known(farm: Farm, store: Store) -> None:
    question = begun(farm, store, "raspi4", seed=0, fresh=True)
    decision = decided(farm, store, replace(question, more=40))
    known = {m.network for m in store.measurements(device="raspi4")}
    assert decision.learnt.networks == 0
    assert known & set(decision.networks)


def test_at_random_is_in_the_seeds_order(farm: Farm, store: Store) -> None:
    active, at_random = (
        decided(farm, store, begun(farm, store, "gold_6226", select=select)).networks
        for select in ("active", "random")
    )
    assert active != at_random


@pytest.mark.parametrize("select", ["active", "random"])
def test_nothing_is_learnt_from_what_judges(farm: Farm, store: Store, select: str) -> None:
    """Nor from a twin, which has other code but the same features."""
    question = begun(farm, store, "gold_6226", select=select, budget=300, holdout=100)
    chosen = decided(farm, store, replace(question, more=300)).networks
    about = Candidates.of(store.campaign(question.campaign).plan, NB201)
    heldout = {tuple(row) for row in NB201.features(list(about.holdout))}
    assert len(set(chosen)) == 300
    assert not heldout & {tuple(row) for row in NB201.features(list(chosen))}
    assert about.allowed(list(about.holdout)) == [False] * 100


def test_another_device_teaches(farm: Farm, store: Store) -> None:
    """A device without a measurement of its own is told apart by the others."""
    plan = planned(Launch(space="nb201", devices=["gold_6226"], budget=5, seed=3), farm.config).plan
    about = Candidates.of(plan, NB201)
    model = CentralPredictor.of(store, farm.config).model(about, "gold_6226")
    assert (model.references, len(model.seen)) == (2, 0)


def test_earlier_campaigns_count_and_later_ones_do_not(farm: Farm, store: Store) -> None:
    about = Candidates.of(store.campaign("c1").plan, NB201)
    then = CentralPredictor.of(store, farm.config, until=store.last_of("c1"))
    before = CentralPredictor.of(store, farm.config, until=5)
    assert len(then.model(about, "raspi4").seen) == 12
    assert len(before.model(about, "raspi4").seen) < 12


class TestGoals:
    def test_one_that_is_reached_ends_it(self, farm: Farm, store: Store) -> None:
        question = begun(farm, store, "raspi4", max_error=0.9)
        decision = decided(farm, store, question)
        assert decision.networks == ()
        assert "16 networks were enough" in (decision.stop or "")  # those that judged then, too

    def test_ranks_are_confirmed_unless_the_model_is_surprised(
        self, farm: Farm, store: Store
    ) -> None:
        question = begun(farm, store, "raspi4", target_rho=0.999)
        plan, about = (
            store.campaign(question.campaign).plan,
            Candidates.of(store.campaign(question.campaign).plan, NB201),
        )
        known = [n for n in about.pool if n not in about.withheld][100:130]
        model = CentralPredictor.of(store, farm.config).model(about, "raspi4")
        expected_s = model.posterior(model.rows(known)).latency_s
        spread = np.random.default_rng(0).normal(0, 0.05, len(known))

        def judged(measured_s: FloatArray) -> Judgement:
            each = zip(known, expected_s, measured_s, strict=True)
            rho = metrics.spearman(expected_s, measured_s)
            return Judgement(rho, rho, tuple(Prediction(n, p, p, p, m) for n, p, m in each))

        some = judged(expected_s * np.exp(spread))
        assert (some.spearman or 1.0) < 0.999
        assert goals.confirmed(plan, model, some)
        assert not goals.confirmed(plan, model, judged(expected_s[::-1]))

    def test_one_that_is_far_is_told_how_far(self, farm: Farm, store: Store) -> None:
        question = begun(farm, store, "raspi4", target_rho=0.99)
        decision = decided(farm, store, question)
        assert decision.stop is None
        assert decision.outlook is not None
        assert 0 < decision.outlook.now < 0.99

    def test_before_all_that_judge_are_measured_nothing_is_done(
        self, farm: Farm, store: Store
    ) -> None:
        question = begun(farm, store, "raspi4", max_error=0.9)
        assert decided(farm, store, replace(question, judged=False)).stop is None

    def test_a_decision_asks_for_what_may_be_on_either_side(self, farm: Farm, store: Store) -> None:
        latency_s = np.median([m.latency_s for m in store.measurements(device="raspi4")])
        question = begun(farm, store, "raspi4", decide=f"latency<{latency_s * 1e3:.3f}ms")
        decision = decided(farm, store, replace(question, more=3))
        model = CentralPredictor.of(store, farm.config).model(
            Candidates.of(store.campaign(question.campaign).plan, NB201), "raspi4"
        )
        row = {network: i for i, network in enumerate(model.networks)}
        posterior = model.posterior(np.array([row[n] for n in decision.networks]))
        assert (np.abs(posterior.mean - np.log(latency_s)) < 1.97 * posterior.std).all()

    def test_one_that_no_network_is_near_is_settled(self, farm: Farm, store: Store) -> None:
        question = begun(farm, store, "fpga", decide="latency<1us")
        assert "0 of" in (decided(farm, store, question).stop or "")


def test_a_plan_asks_for_no_more_than_there_is(farm: Farm) -> None:
    codes = tuple(n.code for n in NB201.sample(5, np.random.default_rng(0)))
    plan = Plan("nb201", ("a",), 4, 2, 0, (farm.config.device("raspi4").spec,), networks=codes)
    with pytest.raises(Exception, match="only 5 of nb201 differ"):
        Candidates.of(plan, NB201)


def test_a_store_that_is_not_there_is_said(tmp_path: Path, farm: Farm) -> None:
    with pytest.raises(Exception, match="no store"):
        Decider.at(tmp_path, farm.config)
