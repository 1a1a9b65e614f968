"""What the tests of attention_core share: one thread, a fixed seed, and attention written out by hand."""

from collections.abc import Callable, Iterator, Mapping

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture(autouse=True)
def _one_thread_and_a_seed() -> Iterator[None]:
    """The tensors here are too small for more than one thread, and every test starts from the same seed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def scramble() -> Callable[..., nn.Module]:
    """Gives a module random float64 weights, so that branches which start at zero take part in the test."""

    def scrambled(module: nn.Module, *, std: float = 0.4, seed: int = 0) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        module.double()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_(std=std, generator=generator)
        return module

    return scrambled


@pytest.fixture
def by_hand() -> Callable[..., Tensor]:
    """The formula of attention, softmax(Q K^T scale) V, written out one head after another: the second implementation.

    weights: state of an `Attention`; allowed: bool, True where a query may look; angles_tf: rotary angles [T, D/2].
    """

    def normalised(x: Tensor) -> Tensor:
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()

    def turned(x_td: Tensor, angles_tf: Tensor) -> Tensor:
        turned_td = torch.empty_like(x_td)
        turned_td[:, 0::2] = x_td[:, 0::2] * angles_tf.cos() - x_td[:, 1::2] * angles_tf.sin()
        turned_td[:, 1::2] = x_td[:, 0::2] * angles_tf.sin() + x_td[:, 1::2] * angles_tf.cos()
        return turned_td

    def formula(
        weights: Mapping[str, Tensor],
        x: Tensor,
        context: Tensor | None = None,
        *,
        heads: int,
        kv_heads: int,
        scale: float,
        allowed: Tensor | None = None,
        angles_tf: Tensor | None = None,
    ) -> Tensor:
        width = weights["to_out.weight"].shape[1] // heads
        sizes = (heads * width, kv_heads * width, kv_heads * width)
        if "to_qkv.weight" in weights:
            to_q, to_k, to_v = weights["to_qkv.weight"].split(sizes)
        else:
            to_q, (to_k, to_v) = weights["to_q.weight"], weights["to_kv.weight"].split(sizes[1:])
        seen = x if context is None else context
        out = []
        for head in range(heads):
            group = head // (heads // kv_heads)
            mine, shared = slice(head * width, (head + 1) * width), slice(group * width, (group + 1) * width)
            q = torch.einsum("btc,dc->btd", x, to_q[mine])
            k = torch.einsum("bsc,dc->bsd", seen, to_k[shared])
            v = torch.einsum("bsc,dc->bsd", seen, to_v[shared])
            if "gain_h" in weights:
                q, k = normalised(q) * weights["gain_h"][head], normalised(k)
            if angles_tf is not None:
                q, k = (torch.stack([turned(row, angles_tf) for row in z]) for z in (q, k))
            logits = torch.einsum("btd,bsd->bts", q, k) * scale
            if allowed is not None:
                logits = logits.masked_fill(~allowed.expand(x.shape[0], heads, *logits.shape[1:])[:, head], -torch.inf)
            weight = logits.exp() / logits.exp().sum(-1, keepdim=True)
            out.append(torch.einsum("bts,bsd->btd", weight, v))
        joined = torch.einsum("btd,cd->btc", torch.cat(out, dim=-1), weights["to_out.weight"])
        return joined + weights["to_out.bias"] if "to_out.bias" in weights else joined

    return formula
