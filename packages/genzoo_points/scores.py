"""What is scored of shapes: the keyword arguments are keys of `genzoo evaluate`."""

from typing import Any, Literal

import torch
from torch import Tensor

from genzoo.contract import Request, Sampler, Scores
from genzoo.draws import torch_generator
from genzoo_points import metrics
from genzoo_points.data import PointsData

NOVELTY = 1000
"""Training shapes that samples are compared with, at most."""


class PointsScores(Scores):
    data: PointsData

    def metrics(
        self,
        samples: Tensor,
        split: str,
        request: Request,
        *,
        cd_shapes: int = 200,
        emd: Literal["exact", "sinkhorn"] = "exact",
        emd_points: int = 512,
        emd_shapes: int = 100,
    ) -> dict[str, Any]:
        """1-NNA, coverage, MMD and JSD beside shapes of the split, and how near to the training shapes samples are."""
        reference = self.data.reference(len(samples), split)
        points = min(samples.shape[1], self.data.points)
        samples, reference = (
            metrics.thin(x[: len(reference), :, :3], points, torch_generator("scored", name, self.data.seed))
            for name, x in (("samples", samples), ("reference", reference))
        )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        scores = metrics.score_sets(
            samples.to(device),
            reference.to(device),
            cd_shapes=cd_shapes,
            emd=emd,
            emd_points=emd_points,
            emd_shapes=emd_shapes,
            seed=self.data.seed,
        )
        if not len(self.data.rows["train"]) or not emd_shapes:
            return scores
        train = self.data.reference(NOVELTY, "train")
        return scores | {"novelty": metrics.novelty(samples[:emd_shapes], train, reference[:emd_shapes])}

    def conditional_metrics(
        self,
        sample: Sampler,
        split: str,
        *,
        completions: int = 16,
        a_class: int = 16,
        unlabelled: int = 0,
    ) -> dict[str, Any]:
        """Of models that learned it: completions of parts of so many shapes of the split, whether a classifier sees
        the label in so many samples of each class, and which classes it sees in so many drawn without a label."""
        if min(completions, a_class, unlabelled) < 0:
            raise ValueError("scoring.completions, scoring.a_class and scoring.unlabelled must not be negative")
        scores: dict[str, Any] = {}
        if not len(self.data.rows["train"]):
            return scores
        if completions and self.data.fitted["seen"]:
            scores["completion"] = metrics.completion(self.data, sample, split, completions)
        if a_class and self.data.classes:
            scores["agreement"] = metrics.agreement(self.data, sample, split, a_class)
        if unlabelled and self.data.classes:
            scores["coverage"] = metrics.coverage_of_classes(self.data, sample, unlabelled)
        return scores
