"""Metrics: scikit-learn's by name, computed for all models at once where that pays, and the user's own."""

from foldtune.metrics.build import build_metric, default_metrics, default_objective
from foldtune.metrics.metric import Metric, Needs, Predictions

__all__ = ["Metric", "Needs", "Predictions", "build_metric", "default_metrics", "default_objective"]
