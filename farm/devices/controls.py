"""The control networks: a few fixed networks that say whether a device is still what it was."""

from __future__ import annotations

from collections.abc import Set

from farm.core.values import DeviceFacts, Network

_NB201 = (
    "|nor_conv_1x1~0|+|skip_connect~0|nor_conv_3x3~1|+|avg_pool_3x3~0|nor_conv_1x1~1|"
    "skip_connect~2|",
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|"
    "nor_conv_3x3~2|",
)


_FBNET = ("4" * 22, "2" * 22)


NETWORKS = (
    *(Network("nb201", code) for code in _NB201),
    *(Network("fbnet", code) for code in _FBNET),
)
"""51 and 185, 130 and 272 million multiply-accumulates; an FBNet's weights are 13 to 17 MB."""


def controls_of(spaces: Set[str]) -> tuple[Network, ...]:
    """The control networks for networks of these search spaces: of the same ones, or all for
    others."""
    own = tuple(network for network in NETWORKS if network.space in spaces)
    return own if spaces and spaces == {network.space for network in own} else NETWORKS


def controls_on(facts: DeviceFacts, spaces: Set[str]) -> tuple[Network, ...]:
    """The control networks that a device measures among networks of these spaces: none where they
    could not change, or where the device is a table without them."""
    if facts.exact:
        return ()
    if facts.space is not None:
        return tuple(network for network in NETWORKS if network.space == facts.space)
    return controls_of(spaces)
