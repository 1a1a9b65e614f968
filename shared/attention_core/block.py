"""A transformer block and its parts: feed-forward, short convolution, conditioning.

Legend: B batch, T tokens, C model width, K width of the condition.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_core.cache import LayerCache
from attention_core.norm import layer_norm


class FeedForward(nn.Module):
    """Two linear layers with a squared ReLU between them (So et al. 2021, Primer); [..., dim] -> [..., dim].

    >>> FeedForward(64)(torch.randn(2, 10, 64)).shape
    torch.Size([2, 10, 64])
    """

    def __init__(self, dim: int, hidden: int | None = None, *, bias: bool = False) -> None:
        super().__init__()
        self.to_hidden = nn.Linear(dim, hidden or 4 * dim, bias=bias)
        self.to_out = nn.Linear(hidden or 4 * dim, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.to_out(_SquaredReLU.apply(self.to_hidden(x)))


class _SquaredReLU(torch.autograd.Function):
    """relu(x)^2 with half the passes over memory backward that autograd's own chain would take; same numbers."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.relu(x).square_()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return (grad * F.relu(x)).mul_(2)


class GatedFeedForward(nn.Module):
    """SwiGLU (Shazeer 2020, eq. 6): silu(x W) * (x V), then a linear layer; [..., dim] -> [..., dim].

    The default width keeps the parameter count of `FeedForward`.

    >>> GatedFeedForward(48)(torch.randn(2, 10, 48)).shape
    torch.Size([2, 10, 48])
    """

    def __init__(self, dim: int, hidden: int | None = None, *, bias: bool = False) -> None:
        super().__init__()
        hidden = hidden or 8 * dim // 3
        self.to_hidden = nn.Linear(dim, 2 * hidden, bias=bias)
        self.to_out = nn.Linear(hidden, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.to_hidden(x).chunk(2, dim=-1)
        return self.to_out(F.silu(gate) * value)


class ShortConvolution(nn.Module):
    """Each channel mixed with its own last few values: a causal depthwise convolution (So et al. 2021, Primer, sec. 3).

    Gives every layer the n-grams that attention would otherwise need a head each for. [B, T, C] -> [B, T, C].

    taps: how many positions, the present one among them. Starts as the identity.

    >>> ShortConvolution(64, taps=4)(torch.randn(2, 10, 64)).shape
    torch.Size([2, 10, 64])
    """

    def __init__(self, dim: int, *, taps: int = 4) -> None:
        super().__init__()
        if taps < 1:
            raise ValueError(f"taps must be at least 1, not {taps}")
        self.taps = taps
        self.weight_ck = nn.Parameter(torch.zeros(dim, taps))
        with torch.no_grad():
            self.weight_ck[:, -1] = 1.0

    def forward(self, x: Tensor, *, cache: LayerCache | None = None, name: str = "convolution") -> Tensor:
        """cache: the layer's memory of earlier positions; name: this convolution's place in it."""
        past = self.taps - 1
        x = F.pad(x, (0, 0, past, 0)) if cache is None else cache.with_tail(name, x, past)
        if x.shape[1] == self.taps:  # one new position: no convolution is worth its call
            return (x * self.weight_ck.t().to(x.dtype)).sum(dim=1, keepdim=True)
        x_bc1t = x.transpose(1, 2).unsqueeze(2)  # channels last in memory: the fast layout for depthwise kernels
        return F.conv2d(x_bc1t, self.weight_ck[:, None, None, :], groups=x.shape[-1]).squeeze(2).transpose(1, 2)


class AdaptiveNorm(nn.Module):
    """Layer norm whose scale and shift come from a condition, and a gate for the branch that follows
    (Peebles & Xie 2023, DiT, adaLN-Zero). Starts as plain norm with the gate at 0.

    x: [B, T, C], cond: [B, K] or [B, T, K] -> (norm(x) (1 + scale) + shift, gate).

    >>> h, gate = AdaptiveNorm(64, 16)(torch.randn(2, 10, 64), torch.randn(2, 16))
    >>> h.shape, gate.shape
    (torch.Size([2, 10, 64]), torch.Size([2, 1, 64]))
    """

    def __init__(self, dim: int, cond_dim: int) -> None:
        super().__init__()
        self.to_modulation = nn.Linear(cond_dim, 3 * dim)
        nn.init.zeros_(self.to_modulation.weight)
        nn.init.zeros_(self.to_modulation.bias)

    def forward(self, x: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        if cond.ndim == x.ndim - 1:
            cond = cond.unsqueeze(-2)
        scale, shift, gate = self.to_modulation(F.silu(cond)).chunk(3, dim=-1)
        return torch.addcmul(shift, layer_norm(x), 1 + scale), gate


class Block(nn.Module):
    """x + attention(norm(x)), then x + feedforward(norm(x)).

    attention: `Attention`, `InducedAttention`, or any module with their `forward` and a last layer `to_out`.
    feedforward: `FeedForward` or `GatedFeedForward`.
    cond_dim: width of a conditioning vector (time, label), which then sets scale, shift and gate of both branches.
    taps: with a number, a `ShortConvolution` of so many taps stands before the attention and before the feed-forward
        (causal sequences only).
    dropout: share of each branch's output that is dropped while training.

    Both branches start at zero, so that a new block is the identity and depth costs nothing at the start.

    >>> block = Block(Attention(64, heads=4), FeedForward(64), cond_dim=16)
    >>> block(torch.randn(2, 10, 64), cond=torch.randn(2, 16)).shape
    torch.Size([2, 10, 64])
    """

    def __init__(
        self,
        attention: nn.Module,
        feedforward: nn.Module,
        *,
        cond_dim: int | None = None,
        taps: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention, self.feedforward, self.dropout = attention, feedforward, dropout
        dim = attention.to_out.out_features
        self.norms = nn.ModuleList(AdaptiveNorm(dim, cond_dim) for _ in range(2)) if cond_dim else None
        self.convolutions = nn.ModuleList(ShortConvolution(dim, taps=taps) for _ in range(2)) if taps else None
        if not cond_dim:  # with a condition the gates start at zero; the weights behind them must not
            for branch in (attention, feedforward):
                nn.init.zeros_(branch.to_out.weight)
                if branch.to_out.bias is not None:
                    nn.init.zeros_(branch.to_out.bias)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        cond: Tensor | None = None,
        mask: Tensor | None = None,
        rotation: Tensor | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """x: [B, T, C]; cond: [B, K] or [B, T, K]; context, mask, rotation and cache are the attention's.

        The attention is given only those that are not None: `InducedAttention` knows no rotation and no cache.
        """
        if (cond is None) != (self.norms is None):
            raise ValueError("a block made with cond_dim needs cond, and one made without takes none")
        given = {"mask": mask, "rotation": rotation, "cache": cache}
        options = {name: value for name, value in given.items() if value is not None}
        h, gate = self._enter(0, x, cond, cache)
        x = self._leave(x, self.attention(h, context, **options), gate)
        h, gate = self._enter(1, x, cond, cache)
        return self._leave(x, self.feedforward(h), gate)

    def _enter(
        self, branch: int, x: Tensor, cond: Tensor | None, cache: LayerCache | None
    ) -> tuple[Tensor, Tensor | None]:
        h, gate = (layer_norm(x), None) if self.norms is None else self.norms[branch](x, cond)
        if self.convolutions is not None:
            h = self.convolutions[branch](h, cache=cache, name=f"branch {branch}")
        return h, gate

    def _leave(self, x: Tensor, h: Tensor, gate: Tensor | None) -> Tensor:
        if self.training and self.dropout:
            h = F.dropout(h, self.dropout)
        return x + h if gate is None else torch.addcmul(x, gate, h)
