"""Linear probes tell what is there, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from recipes.nano.probes import classify


@pytest.mark.parametrize("columns", [6, 400])
def test_a_class_is_told_by_its_column_and_not_from_noise(columns: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=300)
    noise = rng.standard_normal((300, columns)).astype(np.float32)
    train, test = np.arange(200), np.arange(200, 300)
    told = noise.copy()
    told[np.arange(300), labels] += 30.0
    assert np.mean(classify(told, labels, train, test, 3)) > 0.97
    assert 0.15 < np.mean(classify(noise, labels, train, test, 3)) < 0.55
