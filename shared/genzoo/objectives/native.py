"""The model's own loss."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from genzoo.contract import Batch, Data, GenerativeModel, Loss, Objective

NO_ESTIMATE = "penalties act on x_hat, and this model has none: leave objective.penalties empty"


class Native(Objective):
    """Mean of the model's own loss, plus weighted penalties on its estimate of clean data. This is how physics enters.

    penalties: by name, functions (x_hat [B, *shape], batch) -> [B]; those with a method `initialise(data)` are told of
        the data by it.
    weights: by the same names, the factor of each; default 1.
    """

    def __init__(
        self,
        *,
        penalties: Mapping[str, Callable[[Tensor, Batch], Tensor]] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.penalties, self.weights = dict(penalties or {}), dict(weights or {})
        unknown = set(self.weights) - set(self.penalties)
        if unknown:
            raise ValueError(f"weights for penalties that are not there: {', '.join(sorted(unknown))}")

    def check(self, model: GenerativeModel) -> None:
        if self.penalties and not model.estimates:
            raise ValueError(NO_ESTIMATE)

    def initialise(self, data: Data) -> None:
        for penalty in self.penalties.values():
            if hasattr(penalty, "initialise"):
                penalty.initialise(data)

    def loss(
        self, turn: str, modules: Mapping[str, Callable[..., Loss]], batch: Batch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        out = modules["model"](batch, generator)
        total = out.value.mean()
        logs = dict(out.logs)
        if self.penalties and out.x_hat is None:
            raise ValueError(NO_ESTIMATE)
        for name, penalty in self.penalties.items():
            value = penalty(out.x_hat, batch).mean()
            total = total + self.weights.get(name, 1.0) * value
            logs[name] = value.detach()
        return total, logs
