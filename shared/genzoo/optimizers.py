"""Which parameters learn by which optimizer, and how fast at which step."""

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from genzoo.errors import UserError


def make_optimizers(
    module: nn.Module, *, kind: str, lr: float, muon_lr: float, weight_decay: float, fused: bool = True
) -> list[Optimizer]:
    """Muon for the hidden matrices, AdamW for the rest; or AdamW for all (kind "adamw").

    Hidden matrices are the weights of `nn.Linear` layers inside an `nn.ModuleList` (the blocks of a network), both
    sides at least 16 wide. Embeddings, first and last layers, gains, biases and convolutions go to AdamW
    (Jordan et al. 2024, Muon). Vectors are never decayed.
    """
    if kind not in ("muon", "adamw"):
        raise UserError(f"trainer.optimizer is muon or adamw, not {kind!r}")
    hidden: dict[int, nn.Parameter] = {}
    if kind == "muon":
        for blocks in module.modules():
            if isinstance(blocks, nn.ModuleList):
                for layer in blocks.modules():
                    if isinstance(layer, nn.Linear) and layer.weight.requires_grad and min(layer.weight.shape) >= 16:
                        hidden[id(layer.weight)] = layer.weight
    rest = [p for p in module.parameters() if p.requires_grad and id(p) not in hidden]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizers: list[Optimizer] = []
    groups = [group for group in groups if group["params"]]
    if groups:
        optimizers.append(AdamW(groups, lr=lr, betas=(0.9, 0.99), eps=1e-10, fused=fused))
    if hidden:
        optimizers.append(Muon(list(hidden.values()), lr=muon_lr, momentum=0.95, weight_decay=weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def lr_factor(step: int, *, steps: int, warmup: int, decay: float, floor: float) -> float:
    """The share of the peak learning rate at a step: linear warm-up, plateau, linear decay to `floor` over the last
    `decay` part of the run (Hu et al. 2024, MiniCPM, sec. 4). A pure function, so that resuming needs no state."""
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    decay_steps = decay * steps
    left = (steps - step) / decay_steps if decay_steps else 1.0
    return rise * (1.0 if left >= 1 else floor + (1 - floor) * left)


def set_lr(optimizers: list[Optimizer], factor: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor


def resolve_precision(precision: str, device: torch.device, parameters: int) -> str:
    """ "float32" or "bfloat16". `auto`: bfloat16 on GPUs that have it, and on CPUs with bfloat16 matrix instructions;
    float32 elsewhere and for models of under 100,000 parameters, whose steps are overhead."""
    if precision in ("float32", "bfloat16"):
        return precision
    if precision != "auto":
        raise UserError(f"trainer.precision is auto, float32 or bfloat16, not {precision!r}")
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device.type == "cpu" and parameters >= 100_000 and cpu_has_bf16_matrices():
        return "bfloat16"
    return "float32"


def cpu_has_bf16_matrices() -> bool:
    """Whether this CPU multiplies bfloat16 matrices natively (AVX512-BF16, AMX); emulated, it would be slow."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and any(
        getattr(torch.cpu, name, lambda: False)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
