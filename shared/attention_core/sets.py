"""Attention for large unordered sets.

Legend: B batch, T members of the set, I inducing points, C model width.
"""

import torch
from torch import Tensor, nn

from attention_core.attention import Attention
from attention_core.norm import layer_norm


class InducedAttention(nn.Module):
    """Attention of a set to itself through a few learned inducing points (Lee et al. 2019, Set Transformer, ISAB).

    The inducing points attend to the set, then the set attends to them: cost T * I in place of T^2. Takes the place
    of `Attention` in a `Block`. The result follows any permutation of the set.

    dim, heads, qk_norm: as in `Attention`.
    inducing: how many inducing points I.

    >>> InducedAttention(64, heads=4, inducing=16)(torch.randn(2, 2048, 64)).shape
    torch.Size([2, 2048, 64])
    """

    def __init__(self, dim: int, heads: int = 8, *, inducing: int = 64, qk_norm: bool = False) -> None:
        super().__init__()
        if inducing < 1:
            raise ValueError(f"inducing must be at least 1, not {inducing}")
        self.inducing_ic = nn.Parameter(torch.randn(inducing, dim))
        self.gather = Attention(dim, heads, qk_norm=qk_norm)
        self.spread = Attention(dim, heads, qk_norm=qk_norm)

    @property
    def to_out(self) -> nn.Linear:
        return self.spread.to_out

    def forward(self, x: Tensor, context: Tensor | None = None, *, mask: Tensor | None = None) -> Tensor:
        """x: [B, T, C]; context: [B, S, C], further members to gather from (a partial shape, say), default none.

        mask: bool [B, T], True for members that are there (sets of different sizes padded to one length).
        """
        seen = x if context is None else torch.cat((x, context), dim=1)
        if mask is not None:
            if context is not None:
                mask = torch.cat((mask, mask.new_ones(context.shape[:2])), dim=1)
            mask = mask[:, None, None, :]
        inducing = self.inducing_ic.to(x.dtype).expand(x.shape[0], -1, -1)
        summary = inducing + self.gather(layer_norm(inducing), seen, mask=mask)
        return self.spread(x, layer_norm(summary))
