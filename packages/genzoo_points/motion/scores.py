"""What is scored of moving shapes: the keyword arguments are keys of `genzoo evaluate`."""

from typing import Any

from torch import Tensor

from genzoo.contract import Request, Sampler, Scores
from genzoo_points.motion import metrics
from genzoo_points.motion.data import MotionData


class MotionScores(Scores):
    data: MotionData

    def metrics(
        self, samples: Tensor, split: str, request: Request, *, cd_frames: int = 4, cd_train: int = 600
    ) -> dict[str, Any]:
        """Of samples: accelerations, and whether each frame is near a real one (`metrics.accelerations`,
        `metrics.wholeness`), beside the same between real sequences."""
        return metrics.score(
            self.data, samples, request.cond.get("label"), split, cd_frames=cd_frames, cd_train=cd_train
        )

    def conditional_metrics(
        self,
        sample: Sampler,
        split: str,
        *,
        continuations: int = 24,
        a_class: int = 16,
    ) -> dict[str, Any]:
        """Continuations of so many sequences of the split, beside holding the last frame and its velocity; and whether
        a classifier of motions sees the label in so many samples of each class."""
        if continuations < 0 or a_class < 0:
            raise ValueError("scoring.continuations and scoring.a_class must not be negative")
        scores: dict[str, Any] = {}
        if continuations:
            scores["continuation"] = metrics.continuation(self.data, sample, split, continuations)
        if a_class and self.data.classes and len(self.data.rows["train"]):
            scores["agreement"] = metrics.agreement(self.data, sample, split, a_class)
        return scores
