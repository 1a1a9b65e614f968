"""Networks that tell data from samples, for adversarial training.

Legend: B batch, T elements of an example, D numbers of an element.
"""

from math import prod

import torch
from torch import Tensor, nn

from attention_core import Attention, Block, FeedForward
from genzoo.contract import Spec


class TransformerCritic(nn.Module):
    """A transformer that sees the whole example and gives one number: examples [B, *shape] in, [B] out.

    Tokens are embedded; of continuous data, the last axis is what an element is made of (of a single axis, each number
    is an element). Each element has a learned place; labels, where there are any, are added to every element.

    dim, depth, heads: width, blocks, heads.
    """

    def __init__(self, spec: Spec, *, dim: int = 64, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.spec, self.dim = spec, dim
        self.numbers = 1 if len(spec.shape) == 1 else spec.shape[-1]
        self.embed = nn.Embedding(spec.vocab, dim) if spec.vocab else nn.Linear(self.numbers, dim)
        self.label = nn.Embedding(spec.classes, dim) if spec.classes else None
        self.blocks = nn.ModuleList(
            Block(Attention(dim, heads, qk_norm=True, out_bias=False), FeedForward(dim, 4 * dim)) for _ in range(depth)
        )
        self.elements = prod(spec.shape) // (1 if spec.vocab else self.numbers)
        self.place = nn.Parameter(0.5 * torch.randn(self.elements, dim))
        self.out = nn.Linear(dim, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """x: [B, *shape]; label: [B]."""
        shape = (len(x), self.elements) if self.spec.vocab else (len(x), self.elements, self.numbers)
        x_btd = self.embed(x.reshape(shape)) + self.place
        if self.label is not None and label is not None:
            x_btd = x_btd + self.label(label)[:, None]
        for block in self.blocks:
            x_btd = block(x_btd)
        return self.out(nn.functional.layer_norm(x_btd, (self.dim,)).mean(1))[:, 0]
