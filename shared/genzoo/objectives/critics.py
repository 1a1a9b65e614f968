"""Networks that tell data from samples, for adversarial training.

Legend: B batch, T elements of an example, D numbers of an element.
"""

from math import ceil, prod

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, pad

from attention_core import Attention, Block, FeedForward
from genzoo.contract import Spec

MOST = 512
"""Elements of continuous data that attention looks at; where there are more, neighbours share one."""


class TransformerCritic(nn.Module):
    """A transformer that sees the whole example and gives one number: examples [B, *shape] in, [B] out.

    Tokens are embedded, and -1, which follows the end of an example, as one more. Of continuous data, the last axis is
    what an element is made of (of a single axis, each number is an element), and of more than `MOST` elements as many
    neighbours as must be are taken together. Each has a learned place; labels, where there are any, are added to each.

    dim, depth, heads: width, blocks, heads.
    """

    def __init__(self, spec: Spec, *, dim: int = 64, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.spec, self.dim = spec, dim
        size = prod(spec.shape)
        self.numbers = 1 if spec.vocab or len(spec.shape) == 1 else spec.shape[-1]
        if not spec.vocab:
            self.numbers *= ceil(size / self.numbers / MOST)
        self.elements = ceil(size / self.numbers)
        self.embed = nn.Embedding(spec.vocab + 1, dim) if spec.vocab else nn.Linear(self.numbers, dim)
        self.label = nn.Embedding(spec.classes, dim) if spec.classes else None
        self.blocks = nn.ModuleList(
            Block(Attention(dim, heads, qk_norm=True, out_bias=False), FeedForward(dim, 4 * dim)) for _ in range(depth)
        )
        self.place = nn.Parameter(0.5 * torch.randn(self.elements, dim))
        self.out = nn.Linear(dim, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """x: [B, *shape]; label: [B]."""
        x = x.reshape(len(x), -1)
        if self.spec.vocab:
            x = torch.where(x < 0, self.spec.vocab, x)
        else:
            x = pad(x, (0, self.elements * self.numbers - x.shape[1])).view(len(x), self.elements, self.numbers)
        x_btd = self.embed(x) + self.place
        if self.label is not None and label is not None:
            x_btd = x_btd + self.label(label)[:, None]
        for block in self.blocks:
            x_btd = block(x_btd)
        return self.out(layer_norm(x_btd, (self.dim,)).mean(1))[:, 0]
