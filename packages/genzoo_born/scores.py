"""What is scored of bit strings: the keyword arguments are keys of `genzoo evaluate`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from genzoo.contract import Request, Scores
from genzoo.draws import torch_generator
from genzoo_born import metrics
from genzoo_born.data import BornData
from genzoo_born.hypercube import digits, mmd2, mmd2_to_law, numbers


class BornScores(Scores):
    data: BornData

    def metrics(
        self, samples: Tensor, split: str, request: Request, *, bandwidths: list[float] | None = None
    ) -> dict[str, Any]:
        """Squared MMD at each bandwidth to the law (to the split, where the law is not known), total variation to the
        law, and, where strings can be wrong, Gili's fidelity, rate and coverage. `_real`: the same of as many strings
        of the law, or of the training set.
        """
        scores: dict[str, Any] = {}
        reference, generator = self.data._split(split), torch_generator("floor", self.data.seed)
        real = self.data.x["train"] if self.data.law is None else self.data.law.draw(len(samples), generator)
        law = self.data.law.table() if self.data.law is not None else None
        enough = len(samples) > 1 and (law is not None or min(len(reference), len(real)) > 1)
        for b in (bandwidths or []) if enough else []:
            for name, x in ((f"mmd2_{b:g}", samples), (f"mmd2_{b:g}_real", real)):
                scores[name] = float(mmd2(x, reference, [b]) if law is None else mmd2_to_law(x, law, [b]))
        if self.data.law is None:
            return scores
        if law is not None:
            scores["total_variation"] = metrics.sample_total_variation(numbers(samples), law)
            scores["total_variation_real"] = metrics.total_variation_floor(law, len(samples), generator)
        valid = self.data.law.valid(samples)
        if valid is not None:
            scores["valid"] = valid.double().mean().item()
            if self.data.count is not None and self.data.bits < 63:
                every = self.data.law.support()
                solutions = None if every is None else len(every)
                train = numbers(self.data.x["train"])
                scores |= metrics.generalisation(numbers(samples), valid, train, solutions)
        return scores

    def law_metrics(self, log_prob: Callable[[Tensor], Tensor], split: str) -> dict[str, Any]:
        """Exact divergence and total variation of the model to the law, by enumeration of all strings."""
        law = self.data.law.table() if self.data.law is not None else None
        if law is None:
            return {}
        parts = torch.arange(len(law)).split(8192)
        model = torch.cat([log_prob(digits(part, self.data.bits)).cpu() for part in parts]).double()
        return {
            "kl_to_law": metrics.kl_divergence(law, model),
            "total_variation_to_law": metrics.total_variation(model.exp(), law),
        }
