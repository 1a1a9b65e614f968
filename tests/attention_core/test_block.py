"""A transformer block and its parts.

Legend: B batch, T tokens, C model width, K width of the condition.
"""

import math

import pytest
import torch
from torch import Tensor

from attention_core import (
    AdaptiveNorm,
    Attention,
    Block,
    FeedForward,
    GatedFeedForward,
    InducedAttention,
    Rotary,
    ShortConvolution,
    layer_norm,
)

B, T, C, K = 2, 6, 16, 5


def tokens() -> Tensor:
    return torch.randn(B, T, C, dtype=torch.float64)


def norm_by_hand(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()


def test_layer_norm():
    """Mean 0 and variance 1 over the last axis."""
    x = 3 * tokens() + 2
    torch.testing.assert_close(layer_norm(x), norm_by_hand(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias", [False, True])
def test_feedforward(bias, scramble):
    """W2 relu(W1 x)^2, four times as wide inside."""
    module, x = scramble(FeedForward(C, bias=bias)), tokens()
    assert module.to_hidden.out_features == 4 * C
    weights = module.state_dict()
    hidden = x @ weights["to_hidden.weight"].T + weights.get("to_hidden.bias", 0.0)
    want = torch.where(hidden > 0, hidden**2, 0.0) @ weights["to_out.weight"].T + weights.get("to_out.bias", 0.0)
    torch.testing.assert_close(module(x), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias", [False, True])
def test_gated_feedforward(bias, scramble):
    """W3 (silu(W1 x) * W2 x)."""
    module, x = scramble(GatedFeedForward(C, 10, bias=bias)), tokens()
    weights = module.state_dict()
    gate, value = (x @ weights["to_hidden.weight"].T + weights.get("to_hidden.bias", 0.0)).split(10, dim=-1)
    hidden = gate / (1 + (-gate).exp()) * value
    want = hidden @ weights["to_out.weight"].T + weights.get("to_out.bias", 0.0)
    torch.testing.assert_close(module(x), want, rtol=0, atol=1e-12)


def test_gated_feedforward_has_as_many_weights():
    """By default as many as FeedForward."""
    count = [sum(p.numel() for p in make(48).parameters()) for make in (FeedForward, GatedFeedForward)]
    assert count[0] == count[1] == 8 * 48**2


@pytest.mark.parametrize("taps", [1, 2, 4, 9])
def test_convolution(taps, scramble):
    """Each channel is the weighted sum of its last few values, the present one with the last weight."""
    convolution, x = scramble(ShortConvolution(C, taps=taps)), tokens()
    want = torch.zeros_like(x)
    for t in range(T):
        for k in range(taps):
            past = t - (taps - 1) + k
            if past >= 0:
                want[:, t] += convolution.weight_ck[:, k] * x[:, past]
    torch.testing.assert_close(convolution(x), want, rtol=0, atol=1e-12)


def test_convolution_starts_as_the_identity():
    """Bit for bit."""
    x = torch.randn(B, T, C)
    assert ShortConvolution(C, taps=4)(x).equal(x)


def test_adaptive_norm_starts_plain():
    """At first the condition does nothing: the plain norm, and a gate of zero."""
    x = torch.randn(B, T, C)
    h, gate = AdaptiveNorm(C, K)(x, torch.randn(B, K))
    assert h.equal(layer_norm(x))
    assert not gate.any()


@pytest.mark.parametrize("a_token", [False, True], ids=["one a row", "one a token"])
def test_adaptive_norm(a_token, scramble):
    """norm(x) (1 + scale) + shift and the gate, all three linear in silu(cond)."""
    module, x = scramble(AdaptiveNorm(C, K)), tokens()
    cond = torch.randn(B, T, K, dtype=torch.float64) if a_token else torch.randn(B, K, dtype=torch.float64)
    every = cond if a_token else cond[:, None].expand(-1, T, -1)
    linear = (every / (1 + (-every).exp())) @ module.to_modulation.weight.T + module.to_modulation.bias
    h, gate = module(x, cond)
    want = norm_by_hand(x) * (1 + linear[..., :C]) + linear[..., C : 2 * C]
    torch.testing.assert_close(h, want, rtol=0, atol=1e-12)
    torch.testing.assert_close(gate.expand(B, T, C), linear[..., 2 * C :], rtol=0, atol=1e-12)


def blocks(**options) -> list[Block]:
    return [
        Block(Attention(C, 4, qk_norm=True), FeedForward(C), **options),
        Block(Attention(C, 4, causal=True), GatedFeedForward(C, bias=True), **options),
        Block(InducedAttention(C, 4, inducing=3), FeedForward(C), **options),
    ]


@pytest.mark.parametrize("taps", [None, 3])
@pytest.mark.parametrize("cond_dim", [None, K])
def test_block_starts_as_the_identity(cond_dim, taps):
    """Bit for bit, and yet the first gradient step moves it: something in each branch has a slope."""
    for block in blocks(cond_dim=cond_dim, taps=taps):
        x, cond = torch.randn(B, T, C), torch.randn(B, K) if cond_dim else None
        out = block(x, cond=cond)
        assert out.equal(x)
        out.square().sum().backward()
        if cond_dim:
            alive = [norm.to_modulation.weight for norm in block.norms]
        else:
            alive = [block.attention.to_out.weight, block.feedforward.to_out.weight]
        assert all(weight.grad.abs().max() > 1e-3 for weight in alive)


@pytest.mark.parametrize("taps", [None, 3])
@pytest.mark.parametrize("cond_dim", [None, K])
def test_block(cond_dim, taps, scramble):
    """x + gate attention(conv(norm(x))), then x + gate feedforward(conv(norm(x))), with the parts tested above."""
    for block in blocks(cond_dim=cond_dim, taps=taps):
        scramble(block, std=0.3)
        x, cond = tokens(), torch.randn(B, K, dtype=torch.float64) if cond_dim else None
        want = x
        for i, branch in enumerate((block.attention, block.feedforward)):
            h, gate = (norm_by_hand(want), 1.0) if cond is None else block.norms[i](want, cond)
            want = want + gate * branch(h if taps is None else block.convolutions[i](h))
        torch.testing.assert_close(block(x, cond=cond), want, rtol=0, atol=1e-10)


def test_block_passes_on(scramble):
    """Context, mask and rotation reach the attention."""
    x, context = tokens(), torch.randn(B, 4, 7, dtype=torch.float64)
    mask, rotation = torch.rand(B, 1, T, T) < 0.7, Rotary(4).double()(torch.arange(T))
    mask |= torch.eye(T, dtype=torch.bool)
    block = scramble(Block(Attention(C, 4), FeedForward(C)))
    h = x + block.attention(norm_by_hand(x), mask=mask, rotation=rotation)
    want = h + block.feedforward(norm_by_hand(h))
    torch.testing.assert_close(block(x, mask=mask, rotation=rotation), want, rtol=0, atol=1e-10)

    block = scramble(Block(Attention(C, 4, context_dim=7), FeedForward(C)))
    h = x + block.attention(norm_by_hand(x), context, mask=mask[..., :4] | True)
    want = h + block.feedforward(norm_by_hand(h))
    torch.testing.assert_close(block(x, context), want, rtol=0, atol=1e-10)


def test_dropout_only_in_training(scramble):
    """In evaluation dropout does nothing; in training the given share of a branch is dropped and the rest enlarged."""
    attention = Attention(64, 4)
    block = scramble(Block(attention, FeedForward(64), dropout=0.25))
    torch.nn.init.zeros_(attention.to_out.weight)
    torch.nn.init.zeros_(attention.to_out.bias)
    x = torch.randn(20, 50, 64, dtype=torch.float64)
    branch = block.eval()(x) - x
    torch.testing.assert_close(branch, block.feedforward(norm_by_hand(x)), rtol=0, atol=1e-9)
    in_training = block.train()(x) - x
    kept = in_training.abs() > 1e-9 * branch.abs()
    torch.testing.assert_close(in_training, torch.where(kept, branch / 0.75, 0.0), rtol=0, atol=1e-9)
    deviation = math.sqrt(0.25 * 0.75 / kept.numel())
    assert abs(kept.double().mean() - 0.75) < 5 * deviation


@pytest.mark.parametrize("cond_dim", [None, 3])
def test_gradients(cond_dim, scramble):
    """The gradient by the input, the condition and all weights is the slope."""
    block = Block(Attention(4, 2, causal=True, qk_norm=True), GatedFeedForward(4, 5), cond_dim=cond_dim, taps=2)
    scramble(block)
    x = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    cond = torch.randn(1, 3, dtype=torch.float64, requires_grad=True) if cond_dim else None
    names, weights = zip(*block.named_parameters(), strict=True)

    def run(x: Tensor, cond: Tensor | None, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(block, dict(zip(names, weights, strict=True)), (x,), {"cond": cond})

    assert torch.autograd.gradcheck(run, (x, cond, *weights))


@pytest.mark.parametrize(("cond_dim", "taps"), [(None, None), (K, None), (None, 3)])
def test_bfloat16(cond_dim, taps, scramble):
    """Under autocast the stream of tokens stays float32, and its change is close to that in float32."""
    for block in blocks(cond_dim=cond_dim, taps=taps):
        scramble(block, std=0.2).float()
        x, cond = torch.randn(B, T, C), torch.randn(B, K) if cond_dim else None
        want = block(x, cond=cond)
        with torch.autocast("cpu", torch.bfloat16):
            got = block(x, cond=cond)
        assert got.dtype == torch.float32
        assert (got - want).norm() < 0.03 * (want - x).norm()


def test_refused():
    """A condition that is missing or that nobody asked for, and convolutions without taps."""
    x, cond = torch.randn(B, T, C), torch.randn(B, K)
    with pytest.raises(ValueError, match="made with cond_dim needs cond"):
        Block(Attention(C, 4), FeedForward(C), cond_dim=K)(x)
    with pytest.raises(ValueError, match="one made without takes none"):
        Block(Attention(C, 4), FeedForward(C))(x, cond=cond)
    with pytest.raises(ValueError, match="taps must be at least 1, not 0"):
        ShortConvolution(C, taps=0)


def test_feed_forward_has_second_derivatives():
    """Gradient penalties differentiate a gradient: the squared ReLU's own backward pass must have one too."""
    layer = FeedForward(4, 8).double()
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, (x,))


def test_short_convolution_has_second_derivatives():
    """First and second derivatives agree with finite differences: gradient penalties need both."""
    layer = ShortConvolution(3, taps=3).double()
    x = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)

    def run(x, weight):
        return torch.func.functional_call(layer, {"weight_ck": weight}, (x,))

    assert torch.autograd.gradcheck(run, (x, weight))
    assert torch.autograd.gradgradcheck(run, (x, weight))
