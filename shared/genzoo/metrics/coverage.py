"""Is every class among the samples?"""

from typing import Any

import torch
from torch import Tensor


def class_coverage(labels: Tensor, classes: int) -> dict[str, Any]:
    """Of labels [n] (int64) that were read in samples drawn without one: how many of the classes there are, how often
    the rarest comes beside an equal share (1 where all are equal), and the total variation from equal shares. None of
    this says whether samples are good. ValueError for labels outside 0 … classes - 1, or none."""
    if not len(labels) or int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise ValueError(f"labels are of 0 to {classes - 1}, and at least one")
    shares = torch.bincount(labels, minlength=classes).double() / len(labels)
    return {
        "classes": int((shares > 0).sum()),
        "of": classes,
        "rarest_over_equal": shares.min().item() * classes,
        "total_variation": (shares - 1 / classes).abs().sum().item() / 2,
        "samples": len(labels),
    }
