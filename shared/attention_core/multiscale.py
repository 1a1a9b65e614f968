"""Transformers at two scales, for sequences too long or too finely cut for one.

Legend: B batch, T positions, N patches, P positions of a patch, C local width, D width of the trunk, V vocabulary.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from attention_core.attention import Attention
from attention_core.block import Block, FeedForward
from attention_core.cache import KVCache, LayerCache
from attention_core.norm import layer_norm
from attention_core.positions import Rotary


class MultiScaleTransformer(nn.Module):
    """A causal transformer over patches, and a smaller one over the tokens of a patch: tokens [B, T] in, logits of the
    next token [B, T, V] out (Yu et al. 2023, MegaByte, fig. 1; Lee et al. 2022, RQ-Transformer, eq. 7).

    The trunk sees patches of P tokens and runs once a patch; what it says of all patches before goes to the local
    transformer, which writes the patch's tokens one after another. So the long view costs 1 / P of what it would.

    vocab: number of tokens V. The input may also hold the token V, which stands for the start of a sequence.
    dim, depth, heads: width C, blocks and heads of the local transformer.
    patch: tokens of a patch P.
    trunk_dim, trunk_depth, trunk_heads: width D, blocks and heads of the trunk.
    context: the longest sequence it is meant for, in tokens.
    books: where tokens come from several codebooks in turn: token i is of book i mod books. A divisor of `patch`.
    embed: makes the embedding from (number of different tokens, C): a module called with (tokens [B, T], cache) that
        gives [B, T, C] and may look back, through the layer's memory `cache`. Default: a table.
    taps: length of the short convolutions of the trunk's blocks; None leaves them out.
    dropout: share of each branch dropped while training.
    logit_cap: logits z become cap * tanh(z / cap).

    >>> net = MultiScaleTransformer(256, 32, depth=1, heads=2, patch=8, trunk_dim=64, trunk_depth=2, trunk_heads=4,
    ...                             context=128)
    >>> net(torch.zeros(1, 100, dtype=torch.long)).shape
    torch.Size([1, 100, 256])
    """

    def __init__(
        self,
        vocab: int,
        dim: int,
        *,
        depth: int,
        heads: int,
        patch: int,
        trunk_dim: int,
        trunk_depth: int,
        trunk_heads: int,
        context: int,
        books: int = 1,
        embed: Callable[[int, int], nn.Module] | None = None,
        taps: int | None = 4,
        dropout: float = 0.0,
        logit_cap: float = 15.0,
    ) -> None:
        super().__init__()
        if patch < 1 or books < 1 or patch % books:
            raise ValueError(f"patch {patch} must be a multiple of books {books}")
        if context % patch:
            raise ValueError(f"context {context} must be a multiple of patch {patch}")
        self.vocab, self.patch, self.books, self.context, self.logit_cap = vocab, patch, books, context, logit_cap
        self.period, self.dropout = patch, dropout
        self.embedding = (embed or _Table)(books * vocab + 1, dim)
        self.to_trunk = nn.Linear(patch * dim, trunk_dim, bias=False)
        self.start_d = nn.Parameter(torch.zeros(trunk_dim))
        self.trunk = nn.ModuleList(_block(trunk_dim, trunk_heads, taps, dropout) for _ in range(trunk_depth))
        self.to_local = nn.Linear(trunk_dim, patch * dim)
        self.local = nn.ModuleList(_block(dim, heads, None, dropout) for _ in range(depth))
        self.trunk_rotary, self.local_rotary = Rotary(trunk_dim // trunk_heads), Rotary(dim // heads)
        self.to_logits = nn.Linear(dim, books * vocab, bias=False)
        nn.init.normal_(self.to_logits.weight, std=0.002)

    def make_cache(self) -> "_Memory":
        """An empty memory for decoding token by token, with room for `context` positions."""
        return _Memory(len(self.trunk), self.context // self.patch, len(self.local), self.patch)

    def forward(
        self,
        tokens: Tensor,
        *,
        cond: Tensor | None = None,
        cache: "_Memory | None" = None,
        last: bool = False,
    ) -> Tensor:
        """tokens: [B, T], those that follow the ones in the cache where one is given.

        cond: [B, C] or [B, T, C], added to the embeddings (a label, say).
        last: logits of the last position only, [B, 1, V].
        """
        seen = cache.length if cache is not None else 0
        end = seen + tokens.shape[1]
        if end > self.context:
            raise ValueError(f"a sequence of {end} tokens is longer than the context of {self.context}")
        if self.books > 1:  # the token at position i of the input is of the book before that of what comes next
            book = (torch.arange(seen - 1, end - 1, device=tokens.device) % self.books) * self.vocab
            tokens = torch.where(tokens == self.vocab, self.books * self.vocab, tokens + book)
        x_btc = self.embedding(tokens, cache=None if cache is None else cache.embedding)
        if cond is not None:
            x_btc = x_btc + (cond if cond.ndim == 3 else cond[:, None])
        out = self._whole(x_btc) if cache is None else self._piecewise(x_btc, cache)
        if last:
            out = out[:, -1:]
        logits = self._logits(layer_norm(out), (end - out.shape[1]) % self.books)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return self.logit_cap * torch.tanh(logits / self.logit_cap)

    def _logits(self, x_btc: Tensor, book: int) -> Tensor:
        """Scores of the tokens of each position's book; the first position is of `book`."""
        if self.books == 1:
            return self.to_logits(x_btc)
        weight_kvc = self.to_logits.weight.view(self.books, self.vocab, -1)
        count = x_btc.shape[1]
        if count == 1:
            return nn.functional.linear(x_btc, weight_kvc[book])
        whole_bnkc = nn.functional.pad(x_btc, (0, 0, book, -(book + count) % self.books)).unflatten(1, (-1, self.books))
        return torch.einsum("bnkc,kvc->bnkv", whole_bnkc, weight_kvc).flatten(1, 2)[:, book : book + count]

    def _whole(self, x_btc: Tensor) -> Tensor:
        """A whole sequence at once."""
        batch, positions, width = x_btc.shape
        x_bnpc = nn.functional.pad(x_btc, (0, 0, 0, -positions % self.patch)).unflatten(1, (-1, self.patch))
        patches = x_bnpc.shape[1]
        start = self.start_d.to(x_btc.dtype).expand(batch, 1, -1)
        told = start if patches == 1 else torch.cat((start, self._run_trunk(x_bnpc[:, :-1].flatten(2), None)), dim=1)
        local = x_bnpc + self.to_local(layer_norm(told)).unflatten(2, (self.patch, width))
        out = self._run_local(local.flatten(0, 1), 0, None)
        return out.view(batch, patches * self.patch, width)[:, :positions]

    def _piecewise(self, x_btc: Tensor, cache: "_Memory") -> Tensor:
        """Positions that follow those in the cache, a patch at a time."""
        outs = []
        while x_btc.shape[1]:
            place = cache.length % self.patch
            if place == 0:  # a new patch: what the trunk says of those before it
                if cache.patch is None:
                    told = self.start_d.to(x_btc.dtype).expand(len(x_btc), 1, -1)
                else:
                    told = self._run_trunk(cache.patch.flatten(1)[:, None], cache.trunk)
                cache.told = self.to_local(layer_norm(told)).unflatten(2, (self.patch, x_btc.shape[2]))[:, 0]
                cache.local.clear()
                cache.patch = None
            now, x_btc = x_btc[:, : self.patch - place], x_btc[:, self.patch - place :]
            cache.patch = now if cache.patch is None else torch.cat((cache.patch, now), dim=1)
            outs.append(self._run_local(now + cache.told[:, place : place + now.shape[1]], place, cache.local))
            cache.length += now.shape[1]
        return torch.cat(outs, dim=1)

    def _run_trunk(self, patches: Tensor, cache: KVCache | None) -> Tensor:
        """[B, N, P C] -> [B, N, D]"""
        seen = cache.length if cache is not None else 0
        x = layer_norm(self.to_trunk(patches))
        rotation = self.trunk_rotary(torch.arange(seen, seen + x.shape[1], device=x.device))
        for i, block in enumerate(self.trunk):
            x = block(x, rotation=rotation, cache=None if cache is None else cache[i])
        return x

    def _run_local(self, x: Tensor, place: int, cache: KVCache | None) -> Tensor:
        """[B, P, C] -> [B, P, C]"""
        rotation = self.local_rotary(torch.arange(place, place + x.shape[1], device=x.device))
        for i, block in enumerate(self.local):
            x = block(x, rotation=rotation, cache=None if cache is None else cache[i])
        return x


def _block(dim: int, heads: int, taps: int | None, dropout: float) -> Block:
    attention = Attention(dim, heads, causal=True, qk_norm=True, out_bias=False)
    return Block(attention, FeedForward(dim), taps=taps, dropout=dropout)


class _Table(nn.Embedding):
    """A table of vectors that takes, and needs no, memory."""

    def __init__(self, tokens: int, dim: int) -> None:
        super().__init__(tokens, dim)
        nn.init.normal_(self.weight, std=0.8)

    def forward(self, tokens: Tensor, *, cache: LayerCache | None = None) -> Tensor:
        return super().forward(tokens)


class _Memory:
    """What a `MultiScaleTransformer` remembers: the trunk's patches, the local positions of the present patch."""

    def __init__(self, trunk_layers: int, patches: int, local_layers: int, patch: int) -> None:
        self.trunk, self.local = KVCache(trunk_layers, patches), KVCache(local_layers, patch)
        self.embedding = LayerCache(0)
        self.clear()

    def clear(self) -> None:
        """Forgets all positions."""
        self.length = 0
        self.patch: Tensor | None = None
        self.told: Tensor | None = None
        for part in (self.trunk, self.local, self.embedding):
            part.clear()
