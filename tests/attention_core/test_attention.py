"""Attention against its formula.

Legend: B batch, T tokens, S tokens of the context, H heads, D head width, C model width.
"""

import pytest
import torch
from torch import Tensor, nn

from attention_core import Attention, Rotary, band_mask

B, T, C, H = 2, 5, 16, 4


def visible(queries: int, keys: int, *, causal: bool, window: int | None) -> Tensor:
    """Which key each query may see, counted out one pair at a time; the last query stands at the last key."""
    rows = []
    for query in range(keys - queries, keys):
        row = [not (causal and key > query) and not (window and abs(key - query) >= window) for key in range(keys)]
        rows.append(row)
    return torch.tensor(rows)


class Textbook(nn.Module):
    """Self-attention as lectures and widely read code write it."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, dim**-0.5
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = (z.reshape(b, t, self.heads, c // self.heads).transpose(1, 2) for z in self.to_qkv(x).chunk(3, -1))
        weights = (torch.einsum("bhid,bhjd->bhij", q, k) * self.scale).softmax(dim=-1)
        out = torch.einsum("bhij,bhjd->bhid", weights, v)
        return self.to_out(out.transpose(1, 2).reshape(b, t, c))


@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("kv_heads", [None, 2, 1])
@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("causal", [False, True])
def test_formula(causal, window, kv_heads, qk_norm, scramble, by_hand):
    """Every combination of causal, window, grouped queries and query/key norm is the formula's number."""
    attention = scramble(Attention(C, H, causal=causal, window=window, kv_heads=kv_heads, qk_norm=qk_norm))
    x = torch.randn(B, T, C, dtype=torch.float64)
    allowed = visible(T, T, causal=causal, window=window)
    want = by_hand(attention.state_dict(), x, heads=H, kv_heads=kv_heads or H, scale=(C // H) ** -0.5, allowed=allowed)
    torch.testing.assert_close(attention(x), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("given", "scale"), [(None, 8**-0.5), (C**-0.5, C**-0.5), (0.3, 0.3)])
def test_scale(given, scale, scramble, by_hand):
    """The scale is head_dim ** -0.5, also where the head width is not dim / heads, unless another is given."""
    attention = scramble(Attention(C, H, head_dim=8, scale=given))
    assert attention.to_qkv.weight.shape == (3 * H * 8, C)
    x = torch.randn(B, T, C, dtype=torch.float64)
    want = by_hand(attention.state_dict(), x, heads=H, kv_heads=H, scale=scale)
    torch.testing.assert_close(attention(x), want, rtol=0, atol=1e-12)


def test_textbook():
    """With the textbook's weights and its scale, ours are the textbook's numbers."""
    textbook, ours = Textbook(64, 8), Attention(64, scale=64**-0.5)
    ours.load_state_dict(textbook.state_dict(), strict=True)
    x = torch.randn(2, 20, 64)
    torch.testing.assert_close(ours(x), textbook(x), rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.double()(x.double()), textbook.double()(x.double()), rtol=0, atol=1e-13)
    assert not torch.allclose(Attention(64).double()(x.double()), textbook(x.double()), atol=1e-3)


@pytest.mark.parametrize("shape", [(T, T), (B, 1, 1, T), (B, H, T, T)], ids=["TS", "B11S", "BHTS"])
@pytest.mark.parametrize(("causal", "window"), [(False, None), (True, None), (True, 3), (False, 3)])
def test_explicit_mask(shape, causal, window, scramble, by_hand):
    """A mask hides keys from queries, and joins causal order and window."""
    attention = scramble(Attention(C, H, kv_heads=2, causal=causal, window=window))
    x = torch.randn(B, T, C, dtype=torch.float64)
    mask = torch.rand(shape) < 0.6
    # Every query keeps itself, so that its row is not empty; a mask of keys alone keeps the neighbour of each.
    mask = mask | torch.eye(T, dtype=torch.bool) if shape[-2] == T else mask | (torch.arange(T) % 2 == 0)
    allowed = mask & visible(T, T, causal=causal, window=window)
    want = by_hand(attention.state_dict(), x, heads=H, kv_heads=2, scale=0.5, allowed=allowed)
    torch.testing.assert_close(attention(x, mask=mask), want, rtol=0, atol=1e-12)


def test_query_that_may_look_nowhere(scramble):
    """A query whose mask is all False (padding on the left, say) gets to_out(0), and no NaN reaches a gradient."""
    attention = scramble(Attention(C, H, causal=True))
    x = torch.randn(1, T, C, dtype=torch.float64, requires_grad=True)
    out = attention(x, mask=torch.tensor([False, False, True, True, True]))
    torch.testing.assert_close(out[0, :2], attention.to_out.bias.expand(2, -1), rtol=0, atol=0)
    out.sum().backward()
    assert x.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in attention.parameters())


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("kv_heads", [None, 2])
@pytest.mark.parametrize("context_dim", [None, 10])
def test_context(context_dim, kv_heads, qk_norm, masked, scramble, by_hand):
    """Queries from x, keys and values from a context of the same or another width, more or fewer than the queries."""
    attention = scramble(Attention(C, H, context_dim=context_dim, kv_heads=kv_heads, qk_norm=qk_norm))
    x = torch.randn(B, T, C, dtype=torch.float64)
    for tokens in (3, 7):
        context = torch.randn(B, tokens, context_dim or C, dtype=torch.float64)
        mask = (torch.arange(tokens) < torch.tensor([2, 3])[:, None])[:, None, None] if masked else None
        want = by_hand(attention.state_dict(), x, context, heads=H, kv_heads=kv_heads or H, scale=0.5, allowed=mask)
        torch.testing.assert_close(attention(x, context, mask=mask), want, rtol=0, atol=1e-12)


def test_context_of_itself(scramble):
    """Attention to x as a context is self-attention."""
    attention = scramble(Attention(C, H, kv_heads=2, qk_norm=True))
    x = torch.randn(B, T, C, dtype=torch.float64)
    torch.testing.assert_close(attention(x, x), attention(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("qk_norm", [False, True])
def test_rotation(qk_norm, scramble, by_hand):
    """Queries and keys, not values, are turned by position * 10000 ** (-2 i / D)."""
    attention = scramble(Attention(C, 2, kv_heads=1, causal=True, qk_norm=qk_norm))
    x = torch.randn(B, T, C, dtype=torch.float64)
    position_t = torch.tensor([0.0, 1.0, 2.5, -3.0, 40.0], dtype=torch.float64)
    angles_tf = position_t[:, None] * 10_000.0 ** (-2 * torch.arange(4, dtype=torch.float64) / 8)
    got = attention(x, rotation=Rotary(8).double()(position_t))
    allowed = visible(T, T, causal=True, window=None)
    want = by_hand(attention.state_dict(), x, heads=2, kv_heads=1, scale=8**-0.5, allowed=allowed, angles_tf=angles_tf)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)  # the frequencies are float32


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("axes", [1, 2, 3, 4])
def test_rotation_is_relative(axes, causal, scramble):
    """Moving all positions together changes nothing; moving one does."""
    attention = scramble(Attention(C, 2, causal=causal))
    x = torch.randn(B, 16, C, dtype=torch.float64)
    positions = 4 * torch.randn(16, axes, dtype=torch.float64)
    rotary = Rotary(8, axes).double()
    here = attention(x, rotation=rotary(positions))
    there = attention(x, rotation=rotary(positions + 3.7 * torch.arange(1, axes + 1)))
    torch.testing.assert_close(there, here, rtol=0, atol=1e-10)
    moved = positions.clone()
    moved[0, -1] += 1.0
    assert (attention(x, rotation=rotary(moved)) - here).abs().max() > 1e-4


def test_rotation_of_each_row(scramble):
    """Rotations may differ between the rows of a batch."""
    attention, rotary = scramble(Attention(C, 2)), Rotary(8, axes=2).double()
    x = torch.randn(B, T, C, dtype=torch.float64)
    positions = torch.randn(B, T, 2, dtype=torch.float64)
    got = attention(x, rotation=rotary(positions))
    rows = [attention(x[i : i + 1], rotation=rotary(positions[i])) for i in range(B)]
    torch.testing.assert_close(got, torch.cat(rows), rtol=0, atol=1e-12)


@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("causal", [False, True])
def test_who_sees_whom(causal, window, scramble):
    """The derivative of output t by input s is zero exactly where t may not see s."""
    attention = scramble(Attention(C, H, causal=causal, window=window))
    x = torch.randn(1, T, C, dtype=torch.float64)
    jacobian_tcsc = torch.autograd.functional.jacobian(lambda z: attention(z)[0], x)[:, :, 0]
    felt_ts = jacobian_tcsc.abs().sum(dim=(1, 3)) > 0
    assert felt_ts.equal(visible(T, T, causal=causal, window=window))


@pytest.mark.parametrize("window", [None, 1, 2, 9])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 4), (3, 4), (4, 4)])
def test_band_mask(queries, keys, causal, window):
    """The band is what counting pairs one by one gives, for whole sequences and for the end of one."""
    assert band_mask(queries, keys, causal=causal, window=window).equal(
        visible(queries, keys, causal=causal, window=window)
    )


def test_gradients(scramble):
    """The gradient is the slope of the output, with rotation, norm, window, grouped queries and a mask."""
    attention = scramble(Attention(8, 2, kv_heads=1, causal=True, window=3, qk_norm=True))
    rotation = Rotary(4).double()(torch.arange(4))
    mask = torch.tensor([True, True, False, True])
    x = torch.randn(1, 4, 8, dtype=torch.float64, requires_grad=True)
    names, weights = zip(*attention.named_parameters(), strict=True)

    def run(x: Tensor, *weights: Tensor) -> Tensor:
        state = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(attention, state, (x,), {"rotation": rotation, "mask": mask})

    assert torch.autograd.gradcheck(run, (x, *weights))


def test_gradients_with_context(scramble):
    """The gradient by queries, context and weights, where keys come from a context of the same width."""
    attention = scramble(Attention(8, 2, qk_norm=True))
    x, context = (torch.randn(1, n, 8, dtype=torch.float64, requires_grad=True) for n in (2, 3))

    def run(x: Tensor, context: Tensor, to_qkv: Tensor) -> Tensor:
        return torch.func.functional_call(attention, {"to_qkv.weight": to_qkv}, (x, context))

    assert torch.autograd.gradcheck(run, (x, context, attention.to_qkv.weight))


@pytest.mark.parametrize("options", [{}, {"causal": True, "kv_heads": 2, "qk_norm": True}, {"window": 4}])
def test_bfloat16(options):
    """Under autocast the output is bfloat16 and close to that in float32, and so is the gradient."""
    attention, rotation = Attention(64, 4, **options), Rotary(16)(torch.arange(12))
    x = torch.randn(2, 12, 64, requires_grad=True)
    want = attention(x, rotation=rotation)
    with torch.autocast("cpu", torch.bfloat16):
        got = attention(x, rotation=rotation)
    assert got.dtype == torch.bfloat16
    assert (got - want).norm() < 0.02 * want.norm()
    slopes = [torch.autograd.grad(out.float().square().sum(), x)[0] for out in (want, got)]
    assert (slopes[1] - slopes[0]).norm() < 0.03 * slopes[0].norm()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "dim 16 is no multiple of heads 3: change one, or give head_dim"),
        ({"heads": 4, "kv_heads": 3}, "heads 4 is no multiple of kv_heads 3"),
        ({"heads": 4, "kv_heads": 0}, "kv_heads"),
        ({"heads": 4, "kv_heads": -2}, "kv_heads"),
        ({"heads": 0}, "heads"),
        ({"window": 0}, "window must be at least 1, not 0"),
        ({"window": -1}, "window must be at least 1, not -1"),
    ],
)
def test_refused_options(options, message):
    """Sizes that do not fit are refused when the module is made."""
    with pytest.raises(ValueError, match=message):
        Attention(16, **options)


def test_refused_band():
    """A band needs a key for every query, and a window that holds at least the query itself."""
    with pytest.raises(ValueError, match="3 queries for 2 keys"):
        band_mask(3, 2)
    with pytest.raises(ValueError, match="window must be at least 1"):
        band_mask(2, 2, window=0)


@pytest.mark.parametrize("options", [{"causal": True}, {"window": 2}], ids=["causal", "window"])
def test_refused_order_in_a_context(options):
    """Causal order and window speak of positions in one sequence; a context is another."""
    with pytest.raises(ValueError, match="attention to a context"):
        Attention(16, 4, **options)(torch.randn(1, 3, 16), torch.randn(1, 4, 16))


def test_refused_calls():
    """A rotation with a context, no context where one is needed, and masks that are not bool."""
    x = torch.randn(1, 3, 16)
    with pytest.raises(ValueError, match="attention to a context takes no rotation"):
        Attention(16, 4)(x, x, rotation=Rotary(4)(torch.arange(3)))
    with pytest.raises(ValueError, match="made with context_dim: give it a context"):
        Attention(16, 4, context_dim=8)(x)
    with pytest.raises(ValueError, match="mask must be bool"):
        Attention(16, 4)(x, mask=torch.ones(3, 3))
