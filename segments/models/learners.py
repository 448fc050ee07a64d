"""The methods that foretell, from the simplest to the most flexible, each with the settings that are tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consentry.segments.models.definition import Algorithm

# Also the order of preference: of two methods that are as good, the simpler one is taken.
SIMPLEST_FIRST: Sequence[Algorithm] = ("logistic", "random_forest", "gradient_boosting")
GRIDS: Mapping[Algorithm, Mapping[str, Sequence[Any]]] = {
    "logistic": {"fit__C": (0.1, 1.0, 10.0)},
    "random_forest": {"fit__min_samples_leaf": (5, 20)},
    "gradient_boosting": {"fit__learning_rate": (0.05, 0.1), "fit__max_leaf_nodes": (7, 15)},
}


# An estimator of scikit-learn, which has no types.
def learner(algorithm: Algorithm, *, seed: int) -> Any:
    """Return an unfitted pipeline that takes a matrix with gaps; its last step is called `fit`."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    match algorithm:
        case "logistic":
            whole = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
            return Pipeline([("fill", whole), ("scale", StandardScaler()), ("fit", LogisticRegression(max_iter=2000))])
        case "random_forest":
            return Pipeline([("fit", RandomForestClassifier(100, max_features="sqrt", random_state=seed))])
        case "gradient_boosting":
            boosting: Any = HistGradientBoostingClassifier  # its annotations know one word of `early_stopping` only
            boosted = boosting(max_iter=80, early_stopping=False, random_state=seed)
            return Pipeline([("fit", boosted)])
