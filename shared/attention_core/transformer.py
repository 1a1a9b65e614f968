"""Whole networks for token sequences.

Legend: B batch, T positions, C model width, V vocabulary.
"""

import torch
from torch import Tensor, nn

from attention_core.attention import Attention
from attention_core.block import Block, FeedForward
from attention_core.cache import KVCache
from attention_core.norm import layer_norm
from attention_core.positions import Rotary


class TokenTransformer(nn.Module):
    """A causal transformer over tokens: tokens [B, T] in, logits of the next token [B, T, V] out.

    Rotary positions, query/key norm, squared ReLU, short convolutions before both branches of each block, the
    embedding mixed in again before each block by learned factors, no biases, logits softly capped.

    vocab: number of tokens V. The input may also hold the token V, which stands for the start of a sequence.
    dim, depth, heads, kv_heads: width C, number of blocks, query heads, key/value heads.
    context: the longest sequence it is meant for, in tokens.
    window: with a number, blocks see only so many tokens back, except every fourth and the last, which see all.
    taps: length of the short convolutions; None leaves them out.
    expand: width of the feed-forward layers over dim.
    dropout: share of each branch dropped while training.
    logit_cap: logits z become cap * tanh(z / cap) (Gemma 2, 2024, sec. 2).

    >>> TokenTransformer(65, dim=64, depth=2, heads=4, context=32)(torch.zeros(1, 10, dtype=torch.long)).shape
    torch.Size([1, 10, 65])
    """

    def __init__(
        self,
        vocab: int,
        dim: int,
        *,
        depth: int,
        heads: int,
        context: int,
        kv_heads: int | None = None,
        window: int | None = None,
        taps: int | None = 4,
        expand: float = 4.0,
        dropout: float = 0.0,
        logit_cap: float = 15.0,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth}")
        self.vocab, self.context, self.logit_cap, self.dropout = vocab, context, logit_cap, dropout
        self.embedding = nn.Embedding(vocab + 1, dim)
        self.blocks = nn.ModuleList()
        for i in range(depth):
            sees_all = i % 4 == 3 or i == depth - 1
            attention = Attention(
                dim,
                heads,
                kv_heads=kv_heads,
                causal=True,
                window=None if sees_all else window,
                qk_norm=True,
                out_bias=False,
            )
            self.blocks.append(Block(attention, FeedForward(dim, round(expand * dim)), taps=taps, dropout=dropout))
        self.mix_i2 = nn.Parameter(torch.tensor([[1.0, 0.0]]).repeat(depth, 1))
        self.rotary = Rotary(self.blocks[0].attention.head_dim)
        self.to_logits = nn.Linear(dim, vocab, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.8)
        nn.init.normal_(self.to_logits.weight, std=0.002)

    def make_cache(self) -> KVCache:
        """An empty memory for decoding token by token, with room for `context` positions."""
        return KVCache(len(self.blocks), self.context)

    def forward(
        self, tokens: Tensor, *, cond: Tensor | None = None, cache: KVCache | None = None, last: bool = False
    ) -> Tensor:
        """tokens: [B, T], those that follow the ones in the cache where one is given.

        cond: [B, C] or [B, T, C], added to the embeddings (a label, say).
        last: logits of the last position only, [B, 1, V].
        """
        seen = cache.length if cache is not None else 0
        end = seen + tokens.shape[1]
        if end > self.context:
            raise ValueError(f"a sequence of {end} tokens is longer than the context of {self.context}")
        rotation = self.rotary(torch.arange(seen, end, device=tokens.device))
        x = self.embedding(tokens)
        if cond is not None:
            x = x + (cond if cond.ndim == 3 else cond[:, None])
        x = layer_norm(x)
        if self.training and self.dropout:
            x = nn.functional.dropout(x, self.dropout)
        first = x
        own, again = self.mix_i2.unbind(dim=1)
        for i, (block, a, b) in enumerate(zip(self.blocks, own.unbind(), again.unbind(), strict=True)):
            x = torch.addcmul(a * x, b, first)
            x = block(x, rotation=rotation, cache=None if cache is None else cache[i])
        if last:
            x = x[:, -1:]
        logits = self.to_logits(layer_norm(x))
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return self.logit_cap * torch.tanh(logits / self.logit_cap)
