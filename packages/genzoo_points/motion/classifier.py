"""A small classifier of motions, trained on the real sequences to read generated ones.

Legend: B sequences, T frames, N points.
"""

import torch
from torch import Tensor

from genzoo.trained_once import trained_once
from genzoo_points.classifier import PointClassifier, train
from genzoo_points.motion.data import MotionData

VERSION = 1
"""Of the recipe: another one gives other scores."""

STEPS, BATCH = 400, 32


def classifier(data: MotionData) -> PointClassifier:
    """Trained on the training split, or as it was kept in the cache folder for just this split: a PointNet whose points
    are whole trajectories."""
    frames, points, _ = data.spec.shape
    told = (data.fingerprint("train"), frames, points, data.seed)

    def examples(step: int) -> tuple[Tensor, Tensor]:
        batch = data.batch(step, BATCH, "train")
        return trajectories(batch.x), batch.cond["label"]

    return trained_once(
        f"motion-classifier-{VERSION}",
        lambda: PointClassifier(len(data.classes), channels=3 * frames),
        lambda net: train(net, examples, STEPS),
        *told,
    )


def trajectories(x: Tensor) -> Tensor:
    """[B, T, N, 3] -> [B, N, 3 T]: where a point is in the first frame, and its steps from frame to frame in units of
    which most are of the order of 1."""
    steps = 20 * x.diff(dim=1)
    return torch.cat((x[:, :1], steps), dim=1).transpose(1, 2).flatten(2)


@torch.inference_mode()
def read(net: PointClassifier, x: Tensor) -> Tensor:
    """Labels [n] of sequences [n, T, N, 3]."""
    return torch.cat([net(trajectories(part)).argmax(dim=1) for part in x.split(64)])
