"""Attention over sets: order does not matter, and padding does not either.

Legend: B batch, T members of the set, I inducing points, C model width.
"""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from attention_core import Attention, Block, FeedForward, InducedAttention, Rotary, SpaceTime

B, T, C, H = 2, 9, 16, 4


def random_set(members: int = T) -> Tensor:
    return torch.randn(B, members, C, dtype=torch.float64)


@pytest.mark.parametrize("qk_norm", [False, True])
def test_formula(qk_norm, scramble, by_hand):
    """The inducing points attend to the set, then the set to them (Set Transformer, eq. 9-10, with our norms)."""
    induced = scramble(InducedAttention(C, H, inducing=3, qk_norm=qk_norm))
    x, points = random_set(), induced.inducing_ic.expand(B, -1, -1)
    sizes = {"heads": H, "kv_heads": H, "scale": (C // H) ** -0.5}
    summary = points + by_hand(induced.gather.state_dict(), F.layer_norm(points, (C,)), x, **sizes)
    want = by_hand(induced.spread.state_dict(), x, F.layer_norm(summary, (C,)), **sizes)
    torch.testing.assert_close(induced(x), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [lambda: Attention(C, H), lambda: InducedAttention(C, H, inducing=5)])
def test_permutation(make, scramble):
    """Members in another order give the same results in that order, in a block as well."""
    block = scramble(Block(make(), FeedForward(C)))
    x, order = random_set(), torch.randperm(T)
    for module in (block.attention, block):
        torch.testing.assert_close(module(x[:, order]), module(x)[:, order], rtol=0, atol=1e-12)


def test_positions_break_the_symmetry(scramble):
    """With rotary positions, or in causal order, it matters which member comes first."""
    x, order = random_set(), torch.arange(T).flip(0)
    attention, rotation = scramble(Attention(C, H)), Rotary(C // H).double()(torch.arange(T) ** 2)
    gap = attention(x[:, order], rotation=rotation) - attention(x, rotation=rotation)[:, order]
    causal = scramble(Attention(C, H, causal=True))
    assert gap.abs().max() > 1e-3
    assert (causal(x[:, order]) - causal(x)[:, order]).abs().max() > 1e-3


@pytest.mark.parametrize("rest", [0.0, 1e6], ids=["zeros", "rubbish"])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_absent_members_do_not_matter(rest, qk_norm, scramble):
    """Sets of 9 and 6 members padded to one length: each result is that of the set without padding."""
    induced = scramble(InducedAttention(C, H, inducing=5, qk_norm=qk_norm))
    attention = scramble(Attention(C, H, qk_norm=qk_norm))
    x, there = random_set(), torch.arange(T) < torch.tensor([[T], [6]])
    x[~there] = rest
    torch.testing.assert_close(induced(x, mask=there)[:1], induced(x[:1]), rtol=0, atol=1e-12)
    torch.testing.assert_close(induced(x, mask=there)[1:, :6], induced(x[1:, :6]), rtol=0, atol=1e-12)
    by_attention = attention(x, mask=there[:, None, None])
    torch.testing.assert_close(by_attention[:1], attention(x[:1]), rtol=0, atol=1e-12)
    torch.testing.assert_close(by_attention[1:, :6], attention(x[1:, :6]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
def test_further_members(masked, scramble):
    """Members of the context are gathered from like the others, but get no result of their own."""
    induced = scramble(InducedAttention(C, H, inducing=5))
    x, context = random_set(), random_set(4)
    there = torch.arange(T) < torch.tensor([[T], [6]])
    together = torch.cat((there, torch.ones(B, 4, dtype=torch.bool)), dim=1)
    want = induced(torch.cat((x, context), dim=1), mask=together if masked else None)[:, :T]
    torch.testing.assert_close(induced(x, context, mask=there if masked else None), want, rtol=0, atol=1e-12)
    assert (induced(x) - induced(x, context)).abs().max() > 1e-3


def test_in_space_and_time(scramble):
    """Moving point clouds: induced attention over the points of a frame, causal attention over the frames."""
    space = Block(InducedAttention(C, H, inducing=5), FeedForward(C))
    time = Block(Attention(C, H, causal=True), FeedForward(C))
    both = scramble(SpaceTime(space, time))
    x_btsc, order = torch.randn(B, 3, T, C, dtype=torch.float64), torch.randperm(T)
    torch.testing.assert_close(both(x_btsc[:, :, order]), both(x_btsc)[:, :, order], rtol=0, atol=1e-12)


def test_gradients(scramble):
    """The gradient by the set, the inducing points and all weights is the slope."""
    induced = scramble(InducedAttention(4, 2, inducing=2, qk_norm=True))
    x = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    there = torch.tensor([[True, True, False]])
    names, weights = zip(*induced.named_parameters(), strict=True)

    def run(x: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(induced, dict(zip(names, weights, strict=True)), (x,), {"mask": there})

    assert torch.autograd.gradcheck(run, (x, *weights))


def test_bfloat16():
    """Under autocast the result is close to that in float32."""
    induced, x = InducedAttention(64, H, inducing=8), torch.randn(2, 50, 64)
    want = induced(x)
    with torch.autocast("cpu", torch.bfloat16):
        got = induced(x)
    assert (got - want).norm() < 0.02 * want.norm()


def test_refused():
    """Sizes that do not fit are refused as in Attention."""
    with pytest.raises(ValueError, match="dim 16 is no multiple of heads 3"):
        InducedAttention(16, 3)
    with pytest.raises(ValueError, match="inducing must be at least 1, not 0"):
        InducedAttention(16, 4, inducing=0)
