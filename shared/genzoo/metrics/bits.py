"""Likelihood of a whole split."""

import math
from typing import Any

import torch

from genzoo.contract import Data, GenerativeModel
from genzoo.draws import torch_generator


@torch.inference_mode()
def likelihood(model: GenerativeModel, data: Data, split: str, *, batch_size: int = 64) -> dict[str, Any]:
    """Mean -log p over one sweep of a split, in nats and bits per unit of the data; {} where there is no likelihood.

    Returns {"nats_per_<unit>", "bits_per_<unit>", "nats_per_token", "perplexity_per_token", "<unit>s", "tokens"}.
    """
    device = next(model.parameters()).device
    nats, tokens = 0.0, 0
    for batch in data.sweep(split, batch_size):
        batch = batch.to(device)
        log_prob = model.log_prob(batch.x, batch.cond)
        if log_prob is None:
            return {}
        nats -= log_prob.double().sum().item()
        tokens += int((batch.x >= 0).sum())  # -1 fills up short examples
    units = data.units(split)
    return {
        f"nats_per_{data.unit}": nats / units,
        f"bits_per_{data.unit}": nats / units / math.log(2),
        "nats_per_token": nats / tokens,
        "perplexity_per_token": math.exp(min(nats / tokens, 700)),
        f"{data.unit}s": units,
        "tokens": tokens,
    }


@torch.inference_mode()
def mean_loss(model: GenerativeModel, data: Data, split: str, *, batch_size: int = 64) -> dict[str, Any]:
    """Mean of the model's own loss over one sweep of a split, with the same noise every time, and of the numbers that
    the loss gives beside it: {"loss", "examples", …}. For models without a likelihood; compare it only with models of
    the same loss."""
    device = next(model.parameters()).device
    total, count, logs = 0.0, 0, {}
    for i, batch in enumerate(data.sweep(split, batch_size)):
        out = model.loss(batch.to(device), torch_generator("mean loss", i, device=device))
        total += out.value.double().sum().item()
        count += len(out.value)
        for name, number in out.logs.items():
            logs[name] = logs.get(name, 0.0) + float(number) * len(out.value)
    return {"loss": total / count, "examples": count, **{name: number / count for name, number in logs.items()}}
