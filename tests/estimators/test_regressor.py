from __future__ import annotations

import numpy as np
import pytest

from metacortex.errors import DataError, SettingsError
from metacortex.estimators.regressor import FewShotRegressor
from metacortex.learners.registry import make_learner


def test_chooses_a_curve_for_a_curve_and_a_line_for_a_line() -> None:
    x = np.linspace(-2, 2, 12)[:, None]
    between = np.linspace(-1.8, 1.8, 30)[:, None]
    curve = FewShotRegressor().fit(x, np.sin(2 * x[:, 0]))
    assert curve.head_.spec.kind == "kernel"
    assert np.abs(curve.predict(between) - np.sin(2 * between[:, 0])).max() < 0.2
    rng = np.random.default_rng(0)
    X = rng.standard_normal((25, 6))
    weights = np.arange(6.0)
    line = FewShotRegressor(head="ridge").fit(X, X @ weights + 3)
    more = rng.standard_normal((50, 6))
    assert line.score(more, more @ weights + 3) > 0.95


def test_units_of_targets() -> None:
    x = np.linspace(-1, 1, 9)[:, None]
    y = np.stack([x[:, 0], 1e6 * x[:, 0] ** 2 + 5e6], 1)
    model = FewShotRegressor().fit(x, y)
    assert model.predict(x).shape == (9, 2)
    assert model.error_ is not None
    assert model.error_[1] > 1e3 * model.error_[0]
    np.testing.assert_allclose(FewShotRegressor().fit(x, 1e6 * y + 1).predict(x), 1e6 * model.predict(x) + 1, rtol=1e-6)


def test_a_learner_adapts_in_its_own_way() -> None:
    learner = make_learner(
        "maml", input_shape=(1,), way=1, kind="regression", backbone="mlp", backbone_options={"hidden": [8]}
    )
    x = np.linspace(-1, 1, 6)[:, None]
    model = FewShotRegressor(learner).fit(x, x[:, 0])
    assert model.predict(x).shape == (6,)
    assert np.isfinite(model.predict(x)).all()


def test_errors() -> None:
    x = np.zeros((4, 1))
    with pytest.raises(SettingsError, match="prototype"):
        FewShotRegressor(head="prototype").fit(x, np.zeros(4))
    with pytest.raises((DataError, ValueError), match=r"NaN|finite"):
        FewShotRegressor().fit(x, [0, 1, 2, np.nan])
