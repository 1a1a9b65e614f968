"""What a run is made of, and how it is loaded again."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from genzoo.contract import GenerativeModel, Objective
from genzoo.errors import UserError
from genzoo.reading import reason

KEPT = {"AdamW": {"step", "exp_avg", "exp_avg_sq"}, "Muon": {"momentum_buffer"}}
"""What an optimizer keeps of each parameter."""


@dataclass
class State:
    """What a run is made of at one moment. averaged: the weights to sample with. best: the lowest validation loss."""

    step: int
    model: GenerativeModel
    averaged: GenerativeModel
    objective: Objective
    optimizers: dict[str, list[torch.optim.Optimizer]]
    best: float = math.inf

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What is trained, by turn."""
        return {t: self.model if t == "model" else getattr(self.objective, t) for t in self.objective.turns}

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only."""
        return {
            "step": self.step,
            "best": self.best,
            "model": self.model.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizers": {turn: [o.state_dict() for o in group] for turn, group in self.optimizers.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any], averaged: Mapping[str, torch.Tensor]) -> None:
        """UserError where it was saved by another model, objective or optimizer."""
        try:
            self.step, self.best = int(state["step"]), float(state["best"])
            self.model.load_state_dict(state["model"])
            if self.averaged is not self.model:
                self.averaged.load_state_dict(averaged)
            self.objective.load_state_dict(state["objective"])
            for turn, group in self.optimizers.items():
                for optimizer, saved in zip(group, state["optimizers"][turn], strict=True):
                    load_optimizer(optimizer, saved)
        except Exception as error:
            why = reason(ValueError(" ".join(f"{error}".split()) or type(error).__name__))
            raise UserError(
                f"this run cannot go on from what was saved ({why}): resume it with the model, the objective and the "
                "trainer.optimizer that it was begun with"
            ) from error


def load_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Takes what an optimizer keeps of each parameter, but no rate and no decay: those are as this run is configured.
    ValueError where another optimizer kept it, or of other parameters."""
    own = optimizer.state_dict()["param_groups"]
    kind = type(optimizer).__name__
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if [group["params"] for group in saved["param_groups"]] != [group["params"] for group in own]:
        raise ValueError(f"{kind} was saved for other parameters")
    for i, kept in saved["state"].items():
        if kept.keys() != KEPT[kind]:
            raise ValueError(f"another optimizer than {kind} was saved")
        if any(value.shape != parameters[i].shape for name, value in kept.items() if name != "step"):
            raise ValueError(f"{kind} was saved for parameters of other shapes")
    optimizer.load_state_dict({"state": saved["state"], "param_groups": own})
