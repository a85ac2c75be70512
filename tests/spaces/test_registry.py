"""How a user names search spaces and networks."""

from __future__ import annotations

import pytest

from farm.core.errors import NetworkSyntaxError, UnknownName
from farm.core.values import Network
from farm.spaces import parse_network, space

CELL = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|none~2|"


def test_an_unknown_space_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match="no search space 'nb210'; did you mean 'nb201'"):
        space("nb210")
    with pytest.raises(UnknownName, match="no search space 'fbnet64'"):
        parse_network("fbnet64/0")


def test_a_bare_cell_string_is_a_nas_bench_201_network() -> None:
    assert parse_network(f" {CELL} ") == Network("nb201", CELL)


def test_text_without_a_space_says_what_a_network_is() -> None:
    with pytest.raises(NetworkSyntaxError, match=r"a network is SPACE/CODE.*nb201.*got 'resnet50'"):
        parse_network("resnet50")
