from __future__ import annotations

import numpy as np
import pytest

from predictors.encodings.normalisation import Standardisation, TrainingRows

VALUES = np.array([[1.0, 7.0], [3.0, 7.0], [100.0, -5.0]])


def test_it_is_fitted_on_the_training_rows_alone() -> None:
    fitted = Standardisation.fit(VALUES, TrainingRows.of([0, 1], held_out=[2]))
    assert fitted.mean.tolist() == [2.0, 7.0]
    assert fitted.apply(VALUES)[:2, 0].tolist() == [-1.0, 1.0]


def test_a_constant_column_keeps_its_scale() -> None:
    fitted = Standardisation.fit(VALUES, TrainingRows.of([0, 1]))
    assert fitted.apply(VALUES)[:, 1].tolist() == [0.0, 0.0, -12.0]


def test_a_held_out_row_may_not_be_fitted_on() -> None:
    with pytest.raises(ValueError, match=r"training rows only, but rows \[2\] are held out"):
        TrainingRows.of([0, 2], held_out=[1, 2][1:])


def test_rows_must_say_that_they_are_for_training() -> None:
    with pytest.raises(ValueError, match="say which rows are for training"):
        Standardisation.fit(VALUES, np.array([0, 1]))  # type: ignore[arg-type]


def test_there_must_be_a_row() -> None:
    with pytest.raises(ValueError, match="at least one training row"):
        TrainingRows.of([])


def test_a_training_row_with_nan_is_refused() -> None:
    values = np.array([[1.0], [np.nan]])
    with pytest.raises(ValueError, match="must be finite"):
        Standardisation.fit(values, TrainingRows.every(values))


def test_other_columns_than_it_was_fitted_on_are_refused() -> None:
    fitted = Standardisation.fit(VALUES, TrainingRows.every(VALUES))
    with pytest.raises(ValueError, match=r"must be \(M, 2\), got \(3, 1\)"):
        fitted.apply(VALUES[:, :1])
