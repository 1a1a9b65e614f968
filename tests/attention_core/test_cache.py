"""Decoding piece by piece gives the numbers of the whole sequence."""

import pytest
import torch

from attention_core import (
    Attention,
    Block,
    FeedForward,
    GatedFeedForward,
    KVCache,
    LayerCache,
    Rotary,
    ShortConvolution,
)

TOKENS = 11
PIECES = [(1,) * TOKENS, (4, 1, 1, 3, 2), (7, 4), (TOKENS,)]


@pytest.mark.parametrize("pieces", PIECES, ids=str)
@pytest.mark.parametrize("kv_heads", [None, 2])
@pytest.mark.parametrize("window", [None, 1, 3])
def test_attention_in_pieces(window, kv_heads, pieces, scramble):
    """Causal attention fed token by token, or in uneven pieces, equals attention over the whole."""
    attention = scramble(Attention(16, 4, kv_heads=kv_heads, causal=True, window=window, qk_norm=True))
    rotation = Rotary(4).double()(torch.arange(TOKENS))
    x = torch.randn(2, TOKENS, 16, dtype=torch.float64)
    cache, out, start = LayerCache(TOKENS), [], 0
    for size in pieces:
        piece = slice(start, start + size)
        out.append(attention(x[:, piece], rotation=rotation[piece], cache=cache))
        start += size
        assert cache.length == start
    torch.testing.assert_close(torch.cat(out, dim=1), attention(x, rotation=rotation), rtol=0, atol=1e-12)


@pytest.mark.parametrize("window", [None, 3])
def test_attention_in_pieces_under_a_mask(window, scramble):
    """A mask over all keys so far works with a cache, also where one token comes alone."""
    attention = scramble(Attention(16, 4, causal=True, window=window))
    x = torch.randn(2, 6, 16, dtype=torch.float64)
    mask = torch.tensor([[True, True, True, False, True, True], [True, False, True, True, False, True]])[:, None, None]
    want = attention(x, mask=mask)
    cache = LayerCache(6)
    first = attention(x[:, :5], mask=mask[..., :5], cache=cache)
    second = attention(x[:, 5:], mask=mask, cache=cache)
    torch.testing.assert_close(torch.cat((first, second), dim=1), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("window", [None, 3])
def test_attention_without_order(window, scramble):
    """Without causal order the last piece sees all before it: its rows are those of the whole."""
    attention = scramble(Attention(16, 4, window=window))
    x = torch.randn(2, 8, 16, dtype=torch.float64)
    cache = LayerCache(8)
    attention(x[:, :5], cache=cache)
    torch.testing.assert_close(attention(x[:, 5:], cache=cache), attention(x)[:, 5:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("pieces", PIECES, ids=str)
@pytest.mark.parametrize("taps", [1, 2, 5])
def test_convolution_in_pieces(taps, pieces, scramble):
    """A short convolution remembers just enough of its input."""
    convolution = scramble(ShortConvolution(6, taps=taps))
    x = torch.randn(2, TOKENS, 6, dtype=torch.float64)
    cache = LayerCache(TOKENS)
    out = [convolution(piece, cache=cache) for piece in x.split(pieces, dim=1)]
    torch.testing.assert_close(torch.cat(out, dim=1), convolution(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("pieces", PIECES, ids=str)
@pytest.mark.parametrize("cond_dim", [None, 3])
def test_block_in_pieces(cond_dim, pieces, scramble):
    """A block's two convolutions and its attention keep separate memories in one layer's cache."""
    attention = Attention(16, 4, causal=True, window=4, kv_heads=2)
    block = scramble(Block(attention, GatedFeedForward(16), taps=3, cond_dim=cond_dim))
    x = torch.randn(2, TOKENS, 16, dtype=torch.float64)
    cond = torch.randn(2, TOKENS, 3, dtype=torch.float64) if cond_dim else None
    cache, out, start = LayerCache(TOKENS), [], 0
    for size in pieces:
        piece = slice(start, start + size)
        out.append(block(x[:, piece], cond=None if cond is None else cond[:, piece], cache=cache))
        start += size
    torch.testing.assert_close(torch.cat(out, dim=1), block(x, cond=cond), rtol=0, atol=1e-12)


def test_cache_of_a_bfloat16_model():
    """Rotation works in float32, but a bfloat16 model remembers bfloat16, and decodes to what float32 gives, nearly."""
    attention, rotation = Attention(32, 4, causal=True, qk_norm=True), Rotary(8)(torch.arange(6))
    x, cache = torch.randn(1, 6, 32), LayerCache(6)
    want = attention(x, rotation=rotation)
    attention.bfloat16()
    out = [attention(x[:, t : t + 1].bfloat16(), rotation=rotation[t : t + 1], cache=cache) for t in range(6)]
    nothing = torch.empty(1, 4, 0, 8)
    assert [z.dtype for z in cache.append(nothing, nothing)] == [torch.bfloat16, torch.bfloat16]
    assert (torch.cat(out, dim=1) - want).norm() < 0.03 * want.norm()


def test_append_returns_all_so_far():
    """Bit for bit what was put in, in order."""
    keys, values = torch.randn(2, 3, 7, 4), torch.randn(2, 3, 7, 5)
    cache, start = LayerCache(10), 0
    for size in (2, 1, 4):
        piece = slice(start, start + size)
        start += size
        got = cache.append(keys[:, :, piece], values[:, :, piece])
        assert got[0].equal(keys[:, :, :start])
        assert got[1].equal(values[:, :, :start])


def test_tail():
    """Zeros before the start, then the last inputs, also where a piece is shorter than the tail; one memory a name."""
    x = torch.arange(1.0, 7.0).view(1, 6, 1)
    cache = LayerCache(6)
    rows = [cache.with_tail("a", piece, 3).flatten().tolist() for piece in x.split((1, 1, 4), dim=1)]
    assert rows == [[0, 0, 0, 1], [0, 0, 1, 2], [0, 1, 2, 3, 4, 5, 6]]
    assert cache.with_tail("b", x[:, :1], 2).flatten().tolist() == [0, 0, 1]


def test_room(scramble):
    """The last place can be filled; what goes beyond is refused and leaves the cache as it was."""
    cache, keys = LayerCache(3), torch.randn(1, 2, 4, 4)
    cache.append(keys[:, :, :2], keys[:, :, :2])
    with pytest.raises(ValueError, match="room for 3 positions, 4 were asked for: make it longer"):
        cache.append(keys[:, :, 2:], keys[:, :, 2:])
    assert cache.length == 2
    assert cache.append(keys[:, :, 2:3], keys[:, :, 2:3])[0].equal(keys[:, :, :3])

    attention = Attention(8, 2, causal=True)
    with pytest.raises(ValueError, match="make it longer"):
        attention(torch.randn(1, 4, 8), cache=LayerCache(3))


@pytest.mark.parametrize("batch", [1, 2, 5], ids=["smaller", "same", "larger"])
def test_clear(batch, scramble):
    """A cleared cache serves another batch, of another size and precision, as a new one does."""
    block = scramble(Block(Attention(16, 4, causal=True), FeedForward(16), taps=3))
    cache = LayerCache(6)
    block.float()(torch.randn(2, 6, 16), cache=cache)
    cache.clear()
    assert cache.length == 0
    x = torch.randn(batch, 6, 16, dtype=torch.float64)
    torch.testing.assert_close(block.double()(x, cache=cache), block(x), rtol=0, atol=1e-12)


def test_clear_after_inference_mode():
    """A cache that was filled in inference mode can be used outside it once it is cleared."""
    attention, cache, x = Attention(16, 4, causal=True), LayerCache(4), torch.randn(1, 4, 16)
    with torch.inference_mode():
        attention(x, cache=cache)
    cache.clear()
    with torch.no_grad():
        assert attention(x, cache=cache).equal(attention(x))


def test_layers():
    """One memory a layer, all cleared together."""
    cache, keys = KVCache(layers=3, room=4), torch.randn(1, 2, 4, 4)
    assert cache.length == 0
    for layer in range(3):
        cache[layer].append(keys[:, :, : layer + 1], keys[:, :, : layer + 1])
    assert [cache[layer].length for layer in range(3)] == [1, 2, 3]
    assert cache.length == 1
    cache.clear()
    assert [cache[layer].length for layer in range(3)] == [0, 0, 0]
