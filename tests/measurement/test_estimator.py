"""The statistic of record and its interval."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.measurement import estimator

seconds = st.floats(1e-6, 10.0)
sessions = st.lists(st.lists(seconds, min_size=1, max_size=6), min_size=1, max_size=7)

UNSEEN = 1.96 * 0.003
"""Half of the interval of what no session shows."""


def by_definition(values) -> float:
    """The mean of the lowest quarter of four times as many values, a whole number of them."""
    return float(np.sort(np.repeat(values, 4))[: len(values)].mean())


class TestBlock:
    def test_says_the_lower_decile_where_its_core_was_shared(self):
        assert estimator.of_block([float(i) for i in range(11)], shared=True) == 1.0

    def test_says_the_lower_quartile_of_its_samples(self):
        assert estimator.of_block([5.0]) == 5.0
        assert estimator.of_block([4.0, 1.0, 2.0, 3.0, 9.0]) == 2.0
        rng = np.random.default_rng(0)
        for size in range(2, 30):
            samples = rng.exponential(1.0, size)
            assert estimator.of_block(samples.tolist()) == pytest.approx(np.quantile(samples, 0.25))

    def test_bears_it_that_half_of_its_samples_are_disturbed(self):
        quiet = [1.0 + 0.001 * i for i in range(10)]
        disturbed = [value if i % 2 else 50.0 for i, value in enumerate(quiet)]
        assert estimator.of_block(disturbed) == pytest.approx(estimator.of_block(quiet), rel=0.005)


class TestLevel:
    def test_is_the_mean_of_the_fastest_quarter(self):
        assert estimator.level([3.0]) == 3.0
        assert estimator.level([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]) == 1.5
        assert estimator.level([1.0, 2.0, 9.0, 9.0, 9.0]) == pytest.approx((1.0 + 0.25 * 2) / 1.25)

    @given(st.lists(seconds, min_size=1, max_size=40))
    def test_takes_the_last_value_of_it_by_its_share(self, values):
        assert estimator.level(values) == pytest.approx(by_definition(values))

    @pytest.mark.parametrize("slow_share", [0.2, 0.5, 0.7])
    def test_does_not_move_with_how_many_blocks_run_slowly(self, slow_share):
        """Both cores are free, or they are not; a median jumps from one mode to the other."""
        rng = np.random.default_rng(0)
        fast = rng.normal(1.0, 0.005, 400)
        mixed = np.where(rng.random(400) < slow_share, 1.9 * fast, fast)
        assert estimator.level(mixed) == pytest.approx(estimator.level(fast), rel=0.006)

    def test_is_over_the_blocks_of_all_sessions(self):
        assert estimator.latency([[8.0, 1.0, 5.0], [2.0, 6.0], [7.0, 4.0, 3.0]]) == 1.5

    def test_does_not_move_with_a_session_that_was_slowed_down(self):
        quiet = [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
        assert estimator.latency([*quiet, [50.0, 60.0, 1.1], [70.0]]) == estimator.latency(quiet)

    @pytest.mark.parametrize("blocks", [[], [[]], [[1.0], []]])
    def test_of_a_session_without_a_block_is_refused(self, blocks):
        with pytest.raises(ValueError, match="every session must have a block"):
            estimator.latency(blocks)


class TestSlowdown:
    def test_is_the_geometric_mean_of_what_controls_take_longer(self):
        controls = [([[1.1], [1.1]], 1.0), ([[2.6], [2.6]], 2.0)]
        assert estimator.slowdown(controls) == pytest.approx(math.sqrt(1.1 * 1.3))
        assert estimator.latency([[5.0], [5.0]], controls) == pytest.approx(
            5.0 / math.sqrt(1.1 * 1.3)
        )

    def test_is_none_without_controls(self):
        assert estimator.slowdown(()) == 1.0

    def test_little_of_what_may_be_scatter_is_divided_out(self):
        """What both show in each session is, however much the sessions differ."""
        calm = [([[1.1], [1.1], [1.1]], 1.0), ([[1.1], [1.1], [1.1]], 1.0)]
        rows = [[1.05], [1.1], [1.35]]
        wild = [(rows, 1.0), (rows[::-1], 1.0)]
        alike = [(rows, 1.0), ([[2 * row[0]] for row in rows], 2.0)]
        level = estimator.slowdown(alike)
        assert level == pytest.approx(1.05)
        assert estimator.slowdown(calm) == pytest.approx(1.1)
        assert 1.0 < estimator.slowdown(wild) < 1 + 0.3 * (level - 1)
        assert estimator.half_width(rows, wild) > estimator.half_width(rows, alike)

    def test_who_scatters_least_says_most(self):
        steady = [[1.1], [1.1], [1.101], [1.1], [1.1]]
        wild = [[1.4], [1.0], [1.3], [1.05], [1.5]]
        assert estimator.slowdown([(steady, 1.0), (wild, 1.0)]) == pytest.approx(1.1, rel=0.01)

    def test_sees_the_same_moments_as_the_network(self):
        """Its fastest quarter, too: what half of the blocks wait for is in neither."""
        blocks = [[1.05, 3.0], [3.0, 1.05], [1.05, 2.0]]
        assert estimator.latency(blocks, [(blocks, 1.0)]) == pytest.approx(1.0)


class TestSpread:
    def test_takes_two_sessions(self):
        assert estimator.spread([[1.0, 2.0]]) is None
        assert estimator.spread([[1.0], [1.0]]) == 0.0

    @pytest.mark.parametrize("count", [2, 4, 12])
    def test_is_the_standard_deviation_of_sessions(self, count):
        """By the square root of how many, it is the error that repeating shows."""
        draws = np.exp(np.random.default_rng(3).normal(0, 0.02, (400, count, 1)) + np.zeros(9))
        repeats = np.std([math.log(estimator.latency(draw.tolist())) for draw in draws])
        seen = [estimator.spread(draw.tolist()) ** 2 for draw in draws[:100]]
        assert math.sqrt(np.mean(seen) / count) == pytest.approx(repeats, rel=0.25)

    def test_leaves_out_what_controls_share(self):
        drift = [[1.0], [1.2], [0.9], [1.1]]
        assert estimator.spread(drift) > 0.05
        assert estimator.spread(drift, [(drift, 1.0)]) == pytest.approx(0.0, abs=1e-12)

    def test_is_the_same_each_time(self):
        rows = np.random.default_rng(0).normal(1, 0.1, (4, 3)).tolist()
        assert estimator.spread(rows) == estimator.spread(rows)


class TestInterval:
    @settings(max_examples=40)
    @given(sessions.filter(lambda rows: sum(map(len, rows)) > 1), st.floats(1e-3, 1e3))
    def test_is_relative(self, blocks, factor):
        scaled = [[value * factor for value in row] for row in blocks]
        assert estimator.half_width(scaled) == pytest.approx(estimator.half_width(blocks), rel=1e-6)

    def test_of_one_block_is_not_known(self):
        assert estimator.half_width([[2.0]]) == math.inf
        assert estimator.half_width([[2.0]], group_spread=0.01, sessions=9) == math.inf

    def test_of_one_session_is_by_its_blocks(self):
        scattered = estimator.half_width([[1.0, 1.2, 1.1]])
        assert scattered == estimator.half_width([[1.0], [1.2], [1.1]])
        assert UNSEEN < 0.1 < scattered

    def test_is_wider_for_sessions_that_differ_than_for_blocks_that_do(self):
        """A network may be slower for the life of a process: more blocks are no more evidence."""
        levels = 1 + 0.1 * np.linspace(-1, 1, 32)
        apart = estimator.half_width(levels.reshape(8, 4).tolist())
        mixed = estimator.half_width(levels.reshape(4, 8).T.tolist())
        assert apart > 1.2 * mixed > 0

    def test_counts_the_scatter_of_blocks_once(self):
        """Half the width, by what Student's t takes, is the error that repeating shows."""
        draws = np.random.default_rng(1).normal(1, 0.02, (150, 8, 5)).tolist()
        error = np.std([estimator.latency(draw) for draw in draws])
        halves = [math.sqrt(estimator.half_width(draw) ** 2 - UNSEEN**2) for draw in draws]
        student = 2.365  # of 7 degrees, 97.5 %
        assert np.mean(halves) / student == pytest.approx(error, rel=0.2)

    def test_is_never_narrower_than_what_no_session_shows(self):
        assert estimator.half_width([[1.0]] * 9) == pytest.approx(UNSEEN)

    def test_is_wider_where_controls_contradict_each_other(self):
        blocks, agree = [[1.0]] * 5, [([[1.1]] * 5, 1.0), ([[2.2]] * 5, 2.0)]
        apart = [([[1.1]] * 5, 1.0), ([[2.4]] * 5, 2.0)]
        logs = np.log([1.1, 1.2])
        expected = 1.96 * math.hypot(0.003, logs.std(), 0.1 * logs.mean())
        assert estimator.half_width(blocks, apart) == pytest.approx(expected)
        assert estimator.half_width(blocks, apart) > 2 * estimator.half_width(blocks, agree)

    def test_is_wider_by_a_share_of_the_slowdown(self):
        def half_width(times: float) -> float:
            return estimator.half_width([[1.0]] * 5, [([[times]] * 5, 1.0)])

        assert half_width(1.0) == pytest.approx(UNSEEN)
        assert half_width(1.3) == pytest.approx(1.96 * math.hypot(0.003, 0.1 * math.log(1.3)))
        assert half_width(1 / 1.3) == pytest.approx(half_width(1.3))


class TestModeration:
    CALM = ((1.0, 1.0), (1.0, 1.0), (1.0, 1.0))
    WILD = ((1.0, 1.0), (1.1, 1.1), (1.2, 1.2))

    def test_gives_a_calm_network_some_of_the_groups_spread(self):
        """Three sessions that agree by chance: four degrees of the group's, two of its own."""
        alone = estimator.half_width(self.CALM)
        among = estimator.half_width(self.CALM, (), 0.05)
        variance = (4 * 0.05**2 + 2 * 0.0) / 6
        assert alone == pytest.approx(UNSEEN)
        student = 2.447  # of 6 degrees, 97.5 %
        expected = math.hypot(UNSEEN, student * math.sqrt(variance / 3))
        assert among == pytest.approx(expected, rel=1e-3)

    def test_calms_a_network_that_is_wild_for_a_few_sessions(self):
        assert estimator.half_width(self.WILD, (), 0.01) < estimator.half_width(self.WILD) / 2

    def test_leaves_many_sessions_to_themselves(self):
        rows = np.random.default_rng(0).normal(1, 0.03, (60, 3)).tolist()
        among, alone = estimator.half_width(rows, (), 0.001), estimator.half_width(rows)
        assert among == pytest.approx(alone, rel=0.1)


class TestAfterMoreSessions:
    ROWS = tuple(map(tuple, np.random.default_rng(0).normal(1, 0.03, (4, 3)).tolist()))

    @pytest.mark.parametrize("group_spread", [None, 0.03])
    def test_it_is_narrower(self, group_spread):
        widths = [
            estimator.half_width(self.ROWS, (), group_spread, after) for after in (4, 5, 8, 16, 99)
        ]
        assert widths[0] == estimator.half_width(self.ROWS, (), group_spread)
        assert all(more < fewer for fewer, more in pairwise(widths))

    def test_it_is_what_so_many_sessions_give(self):
        """Four and 16 of the same: a quarter of the variance, and Student's t of more degrees."""
        sixteen = estimator.half_width(self.ROWS * 4)
        assert estimator.half_width(self.ROWS, (), None, 16) == pytest.approx(sixteen, rel=0.15)

    def test_it_comes_no_nearer_than_to_what_is_not_seen(self):
        controls = [([[1.3]] * 4, 1.0)]
        floor = 1.96 * estimator.unseen(controls)
        assert floor > 0.05
        assert floor < estimator.half_width(self.ROWS, controls, None, 10_000) < 1.01 * floor

    def test_of_one_session_it_is_by_its_blocks(self):
        one = [[1.0, 1.1, 1.2]]
        assert estimator.half_width(one, sessions=4) < estimator.half_width(one) / 2


KINDS = ("quiet", "drifting", "bimodal")


class Host:
    """Networks and control networks in sessions of three rounds. Truth is of a long run.

    `noise` is that of a process and that of a block; `drifting`: sessions differ by 5 % for all
    alike, `bimodal`: three in ten blocks take half as long again, each network's by its own lot.
    """

    def __init__(self, kind: str, noise: float) -> None:
        self._rng = np.random.default_rng(1)
        self._kind, self._noise = kind, noise
        self._levels_s = [1.0, 1.0]
        networks, controls = self.draw(3000)
        self._levels_s = [estimator.level(np.ravel(rows)) for rows, _ in controls]
        self.truth_s = np.mean([estimator.level(np.ravel(rows)) for rows in networks])

    def draw(self, count: int):
        drift = np.exp(self._rng.normal(0, 0.05 * (self._kind == "drifting"), (count, 1)))
        rows = [self._timed(drift).tolist() for _ in range(6)]
        return rows[:4], list(zip(rows[4:], self._levels_s, strict=True))

    def _timed(self, drift):
        process = self._rng.normal(0, self._noise, drift.shape)
        block = np.abs(self._rng.normal(0, self._noise, (len(drift), 3)))
        slow = self._rng.random(block.shape) < 0.3 * (self._kind == "bimodal")
        return drift * np.exp(process + block) * np.where(slow, 1.5, 1.0)

    def covers(self, count: int) -> bool:
        """Whether the interval of one of four networks of a group holds the truth."""
        networks, controls = self.draw(count)
        spreads = [estimator.spread(rows, controls) for rows in networks]
        group = math.sqrt(np.mean(np.square(spreads)))
        found_s = estimator.latency(networks[0], controls)
        half = estimator.half_width(networks[0], controls, group)
        return abs(found_s - self.truth_s) <= half * found_s


class TestCoverage:
    @pytest.mark.slow
    @pytest.mark.parametrize(("count", "repeats"), [(2, 400), (5, 300), (16, 200)])
    @pytest.mark.parametrize("kind", KINDS)
    def test_is_what_it_says(self, kind, count, repeats):
        host = Host(kind, noise=0.02)
        assert 0.90 <= np.mean([host.covers(count) for _ in range(repeats)]) <= 0.99

    @pytest.mark.slow
    def test_of_two_sessions_is_not_too_small(self):
        host = Host("quiet", noise=0.05)
        assert np.mean([host.covers(2) for _ in range(600)]) >= 0.93


def test_describes_the_spread_of_samples():
    found = estimator.describe([1.0, 2.0, 3.0, 4.0, 10.0])
    assert (found["median_s"], found["mad_s"]) == (3.0, 1.0)
    assert found["p90_s"] == pytest.approx(7.6)
    assert 7.6 < found["p99_s"] <= 10.0
    assert found["cv"] == pytest.approx(np.std([1, 2, 3, 4, 10]) / 4)
