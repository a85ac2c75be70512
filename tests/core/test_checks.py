"""What numbers and texts of elsewhere must be like."""

from __future__ import annotations

import math

import pytest

from farm.core.checks import (
    TEXT_BYTES,
    must_be_count,
    must_be_finite,
    must_not_be_negative,
    plain,
)
from farm.core.errors import DeviceLost


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the runner ended with -9", "the runner ended with -9"),
        ("two\nlines\r\n", "two lines"),
        ("\x1b[2Jgone\x00", "[2Jgone"),
        ("a\u202eb\ud800c", "a b c"),
        ("Größe 日本", "Größe 日本"),
    ],
)
def test_a_text_is_on_one_line_without_control_characters(text, shown):
    assert plain(text) == shown
    assert str(DeviceLost(text)) == shown


@pytest.mark.parametrize("letter", ["a", "ä", "日", "\U0001f600"])
def test_a_text_is_cut_between_letters(letter):
    cut = plain(letter * 5000)
    assert TEXT_BYTES - 4 < len(cut.encode()) <= TEXT_BYTES
    assert set(cut) == {letter}


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 0.0, -1.0, "1", None, [1.0]])
def test_a_number_must_be_finite_and_positive(wrong):
    must_be_finite("samples_s", (1.0, 1e-9, 2), above=0)
    with pytest.raises(ValueError, match="`samples_s` must be finite and more than 0, got"):
        must_be_finite("samples_s", (1.0, wrong, 2.0), above=0)


@pytest.mark.parametrize("wrong", [0, 11, 1.0, True, "1", None, math.nan])
def test_a_count_is_an_integer_within_bounds(wrong):
    must_be_count("runs", 10, 1, 10)
    with pytest.raises(ValueError, match="`runs` must be an integer from 1 to 10, got"):
        must_be_count("runs", wrong, 1, 10)


@pytest.mark.parametrize("wrong", [-1e-9, math.nan, math.inf])
def test_a_time_is_not_negative(wrong):
    must_not_be_negative("device_s", 0.0)
    with pytest.raises(ValueError, match="`device_s` must"):
        must_not_be_negative("device_s", wrong)
