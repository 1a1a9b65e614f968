"""The token transformer against a second implementation, and its cache against the whole sequence.

Legend: B batch, T positions, C model width, V vocabulary.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from attention_core import KVCache, TokenTransformer

B, T, V = 2, 11, 13
SIZES = [
    {},
    {"kv_heads": 1},
    {"window": 3},
    {"taps": None},
    {"window": 2, "kv_heads": 2, "taps": 2, "logit_cap": 2.0, "expand": 2.5},
]


@pytest.fixture
def make(scramble) -> Callable[..., TokenTransformer]:
    """A float64 transformer of random weights."""

    def made(*, depth: int = 2, std: float = 0.3, **options: object) -> TokenTransformer:
        model = TokenTransformer(V, 16, **{"depth": depth, "heads": 4, "context": T, **options})
        return scramble(model, std=std).eval()

    return made


def tokens(batch: int = B, length: int = T) -> Tensor:
    return torch.randint(0, V + 1, (batch, length))  # V is the start of a sequence


def norm(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()


def convolve(x: Tensor, weight_ck: Tensor | None) -> Tensor:
    if weight_ck is None:
        return x
    taps = weight_ck.shape[1]
    padded = torch.cat((torch.zeros_like(x[:, :1]).expand(-1, taps - 1, -1), x), dim=1)
    return sum(weight_ck[:, k] * padded[:, k : k + x.shape[1]] for k in range(taps))


@pytest.mark.parametrize("options", SIZES, ids=str)
def test_second_implementation(options, make, by_hand):
    """Embedding, norm, blocks with the embedding mixed in, norm, logits, cap: written out from the weights alone."""
    model, ids = make(**options), tokens()
    weights = model.state_dict()
    distance = torch.arange(T)[:, None] - torch.arange(T)
    angles_tf = torch.arange(T, dtype=torch.float64)[:, None] * 10_000.0 ** -torch.tensor([0.0, 0.5])
    x = first = norm(weights["embedding.weight"][ids])
    for i in range(2):
        x = weights["mix_i2"][i, 0] * x + weights["mix_i2"][i, 1] * first
        mine = {k.removeprefix(f"blocks.{i}."): w for k, w in weights.items() if k.startswith(f"blocks.{i}.")}
        attention = {k.removeprefix("attention."): w for k, w in mine.items() if k.startswith("attention.")}
        assert attention.keys() == {"to_qkv.weight", "to_out.weight", "gain_h"}
        allowed = (distance >= 0) & (distance < (options.get("window") or T) if i == 0 else distance < T)
        h = convolve(norm(x), mine.get("convolutions.0.weight_ck"))
        x = x + by_hand(
            attention,
            h,
            heads=4,
            kv_heads=options.get("kv_heads", 4),
            scale=0.5,
            allowed=allowed,
            angles_tf=angles_tf,
        )
        h = convolve(norm(x), mine.get("convolutions.1.weight_ck"))
        assert mine["feedforward.to_hidden.weight"].shape == (16 * options.get("expand", 4), 16)
        x = x + (h @ mine["feedforward.to_hidden.weight"].T).relu().square() @ mine["feedforward.to_out.weight"].T
    cap = options.get("logit_cap", 15.0)
    want = cap * torch.tanh(norm(x) @ weights["to_logits.weight"].T / cap)
    torch.testing.assert_close(model(ids).double(), want, rtol=0, atol=1e-5)  # the rotary frequencies are float32


@pytest.mark.parametrize("pieces", [(1,) * T, (4, 1, 1, 3, 2), (7, 4), (T,)], ids=str)
@pytest.mark.parametrize("options", SIZES, ids=str)
def test_cache(options, pieces, make):
    """Fed token by token, or in uneven pieces, the logits are those of the whole; also after `clear`."""
    model, ids = make(**options), tokens()
    cache = model.make_cache()
    for sequence in (ids.flip(1), ids):
        cache.clear()
        out = [model(piece, cache=cache) for piece in sequence.split(pieces, dim=1)]
        assert cache.length == T
        torch.testing.assert_close(torch.cat(out, dim=1), model(sequence), rtol=1e-6, atol=1e-6)


def test_cache_in_double_precision(make):
    """The same to the last digits of float64: a float64 model gives float64 logits."""
    model, ids = make(window=3, kv_heads=2), tokens()
    cache = model.make_cache()
    got = torch.cat([model(piece, cache=cache) for piece in ids.split(1, dim=1)], dim=1)
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, model(ids), rtol=0, atol=1e-12)


def test_room(make):
    """The context can be filled to the last place; one more token is refused, with a cache and without."""
    model = make()
    with pytest.raises(ValueError, match="a sequence of 12 tokens is longer than the context of 11"):
        model(tokens(length=T + 1))
    cache = model.make_cache()
    model(tokens(), cache=cache)
    with pytest.raises(ValueError, match="a sequence of 12 tokens is longer than the context of 11"):
        model(tokens(length=1), cache=cache)
    with pytest.raises(ValueError, match="room for 4 positions, 5 were asked for"):
        model(tokens(length=5), cache=KVCache(layers=2, room=4))


@pytest.mark.parametrize("options", SIZES, ids=str)
def test_no_logits_before_a_change(options, make):
    """A changed token at t leaves the logits before t bit for bit as they were, and changes those at t and after."""
    model, ids = make(depth=3, **options), tokens()
    before = model(ids)
    for t in range(T):
        changed = ids.clone()
        changed[:, t] = (ids[:, t] + 1) % (V + 1)
        after = model(changed)
        assert after[:, :t].equal(before[:, :t])
        assert ((after - before).abs().amax(dim=-1)[:, t:] > 1e-7).all()


def test_windows(make):
    """Every fourth block and the last see all; a window as long as the sequence changes nothing, a shorter one does."""
    windows = [block.attention.window for block in make(depth=6, window=3).blocks]
    assert windows == [3, 3, 3, None, 3, None]
    ids = tokens()
    free, wide, narrow = (make(window=window)(ids) for window in (None, T, 2))
    torch.testing.assert_close(wide, free, rtol=1e-6, atol=1e-6)
    assert (narrow - free)[:, :2].abs().max() < 1e-6
    assert (narrow - free)[:, 2:].abs().max() > 1e-3


def test_last(make):
    """`last` gives the last of all logits, with a cache and without."""
    model, ids = make(), tokens()
    want = model(ids)[:, -1:]
    torch.testing.assert_close(model(ids, last=True), want, rtol=1e-6, atol=1e-6)
    cache = model.make_cache()
    model(ids[:, :4], cache=cache, last=True)
    torch.testing.assert_close(model(ids[:, 4:], cache=cache, last=True), want, rtol=1e-6, atol=1e-6)


def test_condition(make):
    """A condition is added to the embeddings: to all, or to each its own; one that replaces a token acts as it does."""
    model, ids = make(), tokens()
    embedding = model.embedding.weight
    one = torch.randn(B, 16, dtype=torch.float64)
    torch.testing.assert_close(model(ids, cond=one), model(ids, cond=one[:, None].expand(-1, T, -1)))
    assert (model(ids, cond=one) - model(ids)).abs().max() > 1e-3
    swapped = model(ids.flip(1), cond=embedding[ids] - embedding[ids.flip(1)])
    torch.testing.assert_close(swapped, model(ids), rtol=1e-6, atol=1e-6)


def test_start():
    """Untrained, all tokens are nearly equally likely, and no weight is a bias."""
    model = TokenTransformer(V, 64, depth=3, heads=4, context=T)
    nats = torch.nn.functional.cross_entropy(model(tokens()).flatten(0, 1), torch.randint(0, V, (B * T,)))
    assert abs(nats.item() - math.log(V)) < 0.01
    assert not [name for name, _ in model.named_parameters() if "bias" in name]


def test_logit_cap(make):
    """However large the weights, no logit passes the cap."""
    logits = make(std=30.0, logit_cap=5.0)(tokens())
    assert 4.9 < logits.abs().max() <= 5.0


def test_dropout_only_in_training(make):
    """In evaluation dropout does nothing; in training two passes differ."""
    model, ids = make(dropout=0.3), tokens()
    assert model(ids).equal(make()(ids))
    assert all(block.dropout == 0.3 for block in model.blocks)
    model.train()
    assert (model(ids) - model(ids)).abs().max() > 1e-3


def test_slope(make):
    """Along a random direction in the space of all weights the loss changes as its gradient says."""
    model, ids = make(window=3, kv_heads=2), tokens()
    targets = torch.randint(0, V, (B * T,))
    parameters = list(model.parameters())
    direction = [torch.randn_like(p) for p in parameters]

    def loss() -> Tensor:
        return torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), targets)

    slope = sum((g * d).sum() for g, d in zip(torch.autograd.grad(loss(), parameters), direction, strict=True))
    step, values = 1e-5, []
    with torch.no_grad():
        for shift in (step, -2 * step):
            for parameter, along in zip(parameters, direction, strict=True):
                parameter += shift * along
            values.append(loss())
    torch.testing.assert_close((values[0] - values[1]) / (2 * step), slope, rtol=1e-6, atol=0)


def test_bfloat16():
    """Under autocast the logits are float32 and close to those without."""
    model = TokenTransformer(V, 64, depth=2, heads=4, context=T)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    ids = tokens()
    want = model(ids)
    with torch.autocast("cpu", torch.bfloat16):
        got = model(ids)
    assert got.dtype == torch.float32
    assert (got - want).norm() < 0.03 * want.norm()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "dim 16 is no multiple of heads 3"),
        ({"heads": 16}, "even head width, not 1"),
        ({"kv_heads": 3}, "heads 4 is no multiple of kv_heads 3"),
        ({"window": 0}, "window must be at least 1, not 0"),
        ({"taps": -1}, "taps must be at least 1, not -1"),
        ({"depth": 0}, "depth must be at least 1, not 0"),
    ],
)
def test_refused(options, message):
    """Sizes that do not fit are refused when the model is made."""
    with pytest.raises(ValueError, match=message):
        TokenTransformer(V, 16, **{"depth": 2, "heads": 4, "context": T, **options})
