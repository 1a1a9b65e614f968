"""Scores that know no modality."""

from genzoo.metrics.bits import likelihood, mean_loss
from genzoo.metrics.coverage import class_coverage
from genzoo.metrics.frechet import frechet_distance
from genzoo.metrics.two_sample import energy_distance, nearest_neighbour_accuracy, nearest_neighbour_accuracy_of

__all__ = [
    "class_coverage",
    "energy_distance",
    "frechet_distance",
    "likelihood",
    "mean_loss",
    "nearest_neighbour_accuracy",
    "nearest_neighbour_accuracy_of",
]
