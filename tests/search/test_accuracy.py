"""Where accuracies come from, and what is wrong with them."""

from __future__ import annotations

import numpy as np
import pytest

from farm.core.errors import UsageError
from farm.core.values import Network
from farm.search.accuracy import Asked, Proxies, accuracy_of
from farm.spaces import space
from predictors import metrics

FBNET = space("fbnet32")
CODES = ["0" * 22, "1" * 22, "2" * 22]
NETWORKS = [Network("fbnet32", code) for code in CODES]


def csv(tmp_path, text):
    path = tmp_path / "own.csv"
    path.write_text(text)
    return str(path)


def test_a_file_of_codes_and_of_ids(tmp_path):
    path = csv(tmp_path, f"network,accuracy\n{CODES[0]},70\nfbnet32/{CODES[1]},71.5\n")
    found = accuracy_of(path, FBNET)
    assert list(found.listed) == NETWORKS[:2]
    assert found(NETWORKS[:2]).tolist() == [70, 71.5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("network,acc\nx,1\n", "must have the columns `network,accuracy`"),
        ("", "must have the columns"),
        (f"network,accuracy\n{CODES[0]},70\n999,71\n", "line 3: an FBNet code has 22 digits"),
        (f"network,accuracy\n{CODES[0]},nan\n", "line 2: an accuracy is a finite number"),
        (f"network,accuracy\n{CODES[0]}\n", "line 2: an accuracy is a finite number, got None"),
        (f"network,accuracy\nfbnet/{CODES[0]},70\n", "is no network of fbnet32"),
    ],
)
def test_a_file_that_does_not_fit_says_where(tmp_path, text, said):
    with pytest.raises(UsageError, match=said):
        accuracy_of(csv(tmp_path, text), FBNET)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("guess", "--accuracy is table:FILE.npz:DATASET"),
        ("csv:missing.csv", "missing.csv cannot be read: No such file"),
        ("table:missing.npz:cifar10", "no table of accuracies in .*missing.npz"),
        ("proxy:luck", "no proxy 'luck'"),
        ("python:farm.core.values:nothing", "no function 'farm.core.values:nothing'"),
    ],
)
def test_a_source_that_is_not_there_says_what_to_write(source, said):
    with pytest.raises(UsageError, match=said):
        accuracy_of(source, FBNET)


def test_a_published_table_has_a_column_for_each_data_set(published):
    data = published("nb201.npz")
    nb201 = space("nb201")
    found = accuracy_of("table:nb201.npz:cifar100", nb201)
    networks = [Network("nb201", str(code)) for code in data["arch_str"][:5]]
    assert found(networks) == pytest.approx(data["acc"][:5, 1])
    with pytest.raises(UsageError, match="no data set 'mnist'; known: cifar10"):
        accuracy_of("table:nb201.npz:mnist", nb201)
    with pytest.raises(UsageError, match=r"is of nb201, not of fbnet32"):
        accuracy_of("table:nb201.npz:cifar10", FBNET)


def test_the_accuracies_of_others_are_predicted_from_few_results(published, tmp_path):
    data, nb201 = published("nb201.npz"), space("nb201")
    rows = np.random.default_rng(5).permutation(len(data["arch_str"]))[:230]
    each = [Network("nb201", str(code)) for code in data["arch_str"][rows]]
    accuracy = data["acc"][rows, 0].astype(float)
    lines = [f'"{n.code}",{a}' for n, a in zip(each[:30], accuracy[:30], strict=True)]
    path = csv(tmp_path, "\n".join(["network,accuracy", *lines]) + "\n")
    source = accuracy_of(f"predicted:{path}", nb201)
    assert source.listed is None
    mean, off = source(each), source.off(each)
    assert mean[:30] == pytest.approx(accuracy[:30])
    assert not off[:30].any()
    assert (off[30:] > 0).all()
    assert metrics.spearman(mean[30:], accuracy[30:]) > 0.7
    assert (np.abs(mean - accuracy)[30:] <= off[30:]).mean() > 0.8
    assert source.surety.results == 30
    assert source.surety.spearman > 0.5
    few = csv(tmp_path, "\n".join(["network,accuracy", *lines[:4]]) + "\n")
    with pytest.raises(UsageError, match="results of at least 5 different networks, got 4"):
        accuracy_of(f"predicted:{few}", nb201)


def test_a_function_is_asked_once_and_must_give_a_number():
    asked = []

    def function(network):
        asked.append(network)
        return {CODES[0]: 1.0, CODES[1]: float("nan")}[network.partition("/")[2]]

    source = accuracy_of(function, FBNET)
    assert source([NETWORKS[0]] * 2).tolist() == [1.0, 1.0]
    assert asked == [NETWORKS[0].id]
    with pytest.raises(UsageError, match="function must give a finite number, got nan for"):
        source(NETWORKS[:2])
    with pytest.raises(UsageError, match=f"function failed on {NETWORKS[2].id}: KeyError"):
        source(NETWORKS[2:])


def test_a_vote_and_mean_ranks_are_as_counted_by_hand():
    scores = np.array([[1, 2, 3], [1, 3, 2], [9, 1, 2.0]])
    each = [
        Asked(str(i), dict(zip([n.id for n in NETWORKS], own, strict=True)).__getitem__)
        for i, own in enumerate(scores)
    ]
    # 1 beats 0 twice, 2 beats 0 twice, 2 beats 1 twice.
    assert Proxies(each, by_vote=True)(NETWORKS).tolist() == [0, 1, 2]
    assert Proxies(each, by_vote=False)(NETWORKS).tolist() == pytest.approx([2 / 3, 1, 4 / 3])
