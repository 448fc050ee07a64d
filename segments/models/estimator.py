"""Write a fitted estimator of scikit-learn as bytes, and read it without running what the bytes say.

Pickle runs whatever a file tells it to. skops reads an estimator piece by piece and makes objects of known types only:
scikit-learn's public ones, and the few private ones listed here. The bytes are sealed besides (see `seal`).
"""

from __future__ import annotations

from typing import Any

from consentry.errors import ConfigError, StopRun

# Private types that the estimators of `learners` are made of, as skops names them.
_OURS = (
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.tree._tree.Tree",
)


# An estimator of scikit-learn, which has no types.
def dumped(estimator: Any) -> bytes:
    """Return an estimator as bytes."""
    return bytes(_skops().dumps(estimator))


def loaded(content: bytes, *, version: str) -> Any:
    """Read an estimator. version: of the scikit-learn that wrote it.

    Raises StopRun when the bytes hold a type that is not ours, or were written by another minor version, whose
    estimators may mean something else.
    """
    if version.split(".")[:2] != library().split(".")[:2]:
        message = f"The model was made with scikit-learn {version}, and {library()} is installed. Train it again."
        raise StopRun(message, code="model_outdated")
    skops = _skops()
    unknown = set(skops.get_untrusted_types(data=content)) - set(_OURS)
    if unknown:
        message = "The model's estimator holds types that no model of ours has. Train it again."
        raise StopRun(message, code="model_tampered")
    return skops.loads(content, trusted=list(_OURS))


def library() -> str:
    """Return the version of scikit-learn. Raises ConfigError when it is not installed."""
    try:
        import sklearn
    except ImportError:
        raise ConfigError("Install consentry[ml] to train models and to score with them.") from None
    return str(sklearn.__version__)


def _skops() -> Any:
    try:
        import skops.io
    except ImportError:
        raise ConfigError("Install consentry[ml] to train models and to score with them.") from None
    return skops.io
