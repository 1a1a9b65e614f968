"""Multi-head attention. Everything here ends in torch.nn.functional.scaled_dot_product_attention.

Legend: B batch, T tokens, S tokens of the context, H query heads, G key/value heads, D head width, C model width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_core.cache import LayerCache
from attention_core.masks import band_mask
from attention_core.norm import layer_norm
from attention_core.positions import rotate


class Attention(nn.Module):
    """Attention as in the textbook (Vaswani et al. 2017, eq. 1), with what has proved useful since.

    `Attention(dim, heads=8)(x)` maps [B, T, dim] to [B, T, dim]: one projection `to_qkv` without bias (queries, keys
    and values in this order, each split by head), softmax(q k^T scale) v, one projection `to_out`.

    dim: model width C.
    heads: query heads H.
    kv_heads: key and value heads G, shared by H / G query heads each (Ainslie et al. 2023). Default: as many as heads.
    head_dim: width D of a head; default dim // heads.
    context_dim: where keys and values come from a context of another width; then `to_q` and `to_kv` take the place
        of `to_qkv`. A context of the same width needs no option: pass it to `forward`.
    causal: no token sees a later one.
    window: a token sees only tokens less than `window` away.
    qk_norm: queries and keys are normalised before their product, with one learned gain a head
        (Henry et al. 2020); keeps the logits bounded, so higher learning rates stay stable.
    scale: factor of q k^T; default head_dim ** -0.5.
    out_bias: whether `to_out` has a bias.

    >>> Attention(64, heads=4)(torch.randn(2, 10, 64)).shape
    torch.Size([2, 10, 64])
    """

    def __init__(
        self,
        dim: int,
        heads: int = 8,
        *,
        kv_heads: int | None = None,
        head_dim: int | None = None,
        context_dim: int | None = None,
        causal: bool = False,
        window: int | None = None,
        qk_norm: bool = False,
        scale: float | None = None,
        out_bias: bool = True,
    ) -> None:
        super().__init__()
        kv_heads = heads if kv_heads is None else kv_heads
        if heads < 1 or kv_heads < 1:
            raise ValueError(f"heads and kv_heads must be at least 1, not {heads} and {kv_heads}")
        if head_dim is None and dim % heads:
            raise ValueError(f"dim {dim} is no multiple of heads {heads}: change one, or give head_dim")
        if heads % kv_heads:
            raise ValueError(f"heads {heads} is no multiple of kv_heads {kv_heads}: change one")
        if window is not None and window < 1:
            raise ValueError(f"window must be at least 1, not {window}")
        self.heads, self.kv_heads = heads, kv_heads
        self.head_dim = head_dim or dim // heads
        self.causal, self.window = causal, window
        self.scale = self.head_dim**-0.5 if scale is None else scale
        self.q_dim, kv_dim = heads * self.head_dim, 2 * kv_heads * self.head_dim
        if context_dim is None:
            self.to_qkv = nn.Linear(dim, self.q_dim + kv_dim, bias=False)
        else:
            self.to_q = nn.Linear(dim, self.q_dim, bias=False)
            self.to_kv = nn.Linear(context_dim, kv_dim, bias=False)
        self.to_out = nn.Linear(self.q_dim, dim, bias=out_bias)
        self.gain_h = nn.Parameter(torch.full((heads,), 1.5)) if qk_norm else None

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        rotation: Tensor | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """x: [B, T, C]; context: [B, S, context_dim], default x itself.

        mask: bool, True where a query may look, broadcastable to [B, H, T, S]; it joins `causal` and `window`.
        rotation: rotary phases of the T positions (self-attention only); see `positions.Rotary`.
        cache: keys and values of earlier positions; x then holds the positions that follow them.
        """
        return self.to_out(self.attend(x, context, mask=mask, rotation=rotation, cache=cache))

    def attend(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        rotation: Tensor | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """All of `forward` but the last projection: [B, T, H * D]."""
        if context is not None and (rotation is not None or cache is not None or self.causal or self.window):
            raise ValueError("attention to a context takes no rotation, no cache, no causal order and no window")
        if context is None and not hasattr(self, "to_qkv"):
            raise ValueError("this attention was made with context_dim: give it a context")
        if mask is not None and mask.dtype != torch.bool:
            raise ValueError(f"mask must be bool, True where a query may look, not {mask.dtype}: compare or cast it")
        batch, tokens, _ = x.shape
        q, k, v = self._to_itself(x, rotation) if context is None else self._to_context(x, context)
        if self.gain_h is not None:
            q = q * self.gain_h.to(q.dtype).unsqueeze(-1)
        if not (v.device.type == "cpu" and torch.is_autocast_enabled("cpu")):  # rotation leaves float32
            q, k = q.to(v.dtype), k.to(v.dtype)
        q_bhtd, k_bgsd, v_bgsd = (z.transpose(1, 2) for z in (q, k, v))
        if cache is not None:
            k_bgsd, v_bgsd = cache.append(k_bgsd, v_bgsd)
        return self._product(q_bhtd, k_bgsd, v_bgsd, mask).transpose(1, 2).reshape(batch, tokens, self.q_dim)

    def _to_itself(self, x: Tensor, rotation: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, T, H, D], keys and values [B, T, G, D], normalised and rotated."""
        heads, kv_heads = self.heads, self.kv_heads
        joint = self.to_qkv(x).view(*x.shape[:2], heads + 2 * kv_heads, self.head_dim)
        qk, v = joint.split((heads + kv_heads, kv_heads), dim=2)
        if self.gain_h is not None:
            qk = layer_norm(qk)
        if rotation is not None:
            qk = rotate(qk, rotation.unsqueeze(-2))
        q, k = qk.split((heads, kv_heads), dim=2)
        return q, k, v

    def _to_context(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, T, H, D], keys and values [B, S, G, D] of the context, normalised."""
        kv_width = 2 * self.kv_heads * self.head_dim
        if hasattr(self, "to_qkv"):
            to_q, to_kv = self.to_qkv.weight.split((self.q_dim, kv_width))
            q, kv = F.linear(x, to_q), F.linear(context, to_kv)
        else:
            q, kv = self.to_q(x), self.to_kv(context)
        q = q.view(*x.shape[:2], self.heads, self.head_dim)
        k, v = kv.view(*context.shape[:2], 2 * self.kv_heads, self.head_dim).chunk(2, dim=2)
        return (q, k, v) if self.gain_h is None else (layer_norm(q), layer_norm(k), v)

    def _product(self, q_bhtd: Tensor, k_bgsd: Tensor, v_bgsd: Tensor, mask: Tensor | None) -> Tensor:
        queries, keys = q_bhtd.shape[2], k_bgsd.shape[2]
        if queries == 1 and self.causal and mask is None:  # one new token: every key it may see, and no mask
            if self.window is not None:
                k_bgsd, v_bgsd = k_bgsd[:, :, -self.window :], v_bgsd[:, :, -self.window :]
            is_causal = False
        else:
            is_causal = self.causal and self.window is None and mask is None and queries == keys
            if (self.causal and not is_causal) or self.window is not None:
                band = band_mask(queries, keys, causal=self.causal, window=self.window, device=q_bhtd.device)
                mask = band if mask is None else mask & band
        options = dict(attn_mask=mask, is_causal=is_causal, scale=self.scale, enable_gqa=self.kv_heads != self.heads)
        if v_bgsd.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # In bfloat16 the backward pass of the CPU's kernel is up to five times slower than in float32.
            with torch.autocast("cpu", enabled=False):
                qkv = (q_bhtd.float(), k_bgsd.float(), v_bgsd.float())
                return F.scaled_dot_product_attention(*qkv, **options).to(v_bgsd.dtype)
        return F.scaled_dot_product_attention(q_bhtd, k_bgsd, v_bgsd, **options)
