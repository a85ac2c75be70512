"""Plain values, and how they are told."""

from __future__ import annotations

import pytest

from farm.core.values import percent


@pytest.mark.parametrize(
    ("share", "said"), [(0.0048, "0.48 %"), (0.0996, "10 %"), (0.123, "12 %"), (2.4, "240 %")]
)
def test_shares_are_told_to_two_digits(share, said):
    assert percent(share) == said
