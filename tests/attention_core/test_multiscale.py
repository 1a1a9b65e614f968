"""Transformers at two scales: causal, the same when decoded piece by piece, and equal to what they are made of."""

import pytest
import torch
from torch import nn

from attention_core import LayerCache, MultiScaleTransformer
from attention_core.norm import layer_norm

VOCAB, CONTEXT = 11, 48
SHAPES = {"one book": (1, 8), "a book a token": (4, 4), "two frames a patch": (2, 4), "patches of one": (1, 1)}


class Looking(nn.Module):
    """An embedding that looks at the last three tokens."""

    def __init__(self, tokens: int, dim: int) -> None:
        super().__init__()
        self.table, self.embedding_dim = nn.Embedding(tokens, dim), dim

    def forward(self, tokens, *, cache: LayerCache | None = None):
        x = self.table(tokens)
        padded = nn.functional.pad(x, (0, 0, 2, 0)) if cache is None else cache.with_tail("looking", x, 2)
        return padded.unfold(1, 3, 1).sum(-1)


def make(books: int, patch: int, **options) -> MultiScaleTransformer:
    """Small, in double precision, with weights that leave no branch at zero."""
    torch.manual_seed(0)
    sizes = dict(depth=2, heads=2, trunk_dim=24, trunk_depth=2, trunk_heads=2, context=CONTEXT)
    net = MultiScaleTransformer(VOCAB, 16, books=books, patch=patch, **sizes, **options).double()
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)
    return net


def tokens(length: int = CONTEXT - 5) -> torch.Tensor:
    x = torch.randint(VOCAB, (3, length), generator=torch.Generator().manual_seed(1))
    x[:, 0] = VOCAB
    return x


@pytest.mark.parametrize(("books", "patch"), SHAPES.values(), ids=SHAPES)
def test_no_token_sees_a_later_one(books, patch):
    """A change at one place changes logits from there on, and there at once."""
    net, x = make(books, patch), tokens()
    for place in (1, 7, 8, 20):
        other = x.clone()
        other[:, place] = (other[:, place] + 1) % VOCAB
        changed = (net(other) - net(x)).abs().amax(dim=(0, 2)) > 1e-9
        assert not changed[:place].any()
        assert changed[place:].all()


@pytest.mark.parametrize("embed", [None, Looking], ids=["table", "looking back"])
@pytest.mark.parametrize(("books", "patch"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("first", [1, 5, 8, 19])
def test_decoding_with_memory(books, patch, first, embed):
    """The logits of a whole sequence, of a beginning of any length and then token by token, in any other pieces, and
    after the memory was cleared."""
    net, x = make(books, patch, embed=embed), tokens()
    cond = torch.randn(3, 16, dtype=torch.float64)
    whole, cache = net(x, cond=cond), net.make_cache()
    for pieces in ((first, *[1] * (x.shape[1] - first)), (first, 3, 6, x.shape[1] - first - 9)):
        cache.clear()
        parts = [net(part, cond=cond, cache=cache) for part in x.split(pieces, dim=1)]
        torch.testing.assert_close(torch.cat(parts, dim=1), whole)
        assert cache.length == x.shape[1]
    torch.testing.assert_close(net(x, cond=cond, last=True), whole[:, -1:])


def test_the_parts_by_hand():
    """Logits of the second patch, from the trunk's view of the first and the local transformer's of the second."""
    net, x = make(1, 8), tokens(16)
    embedded = net.embedding(x)
    trunk = layer_norm(net.to_trunk(embedded[:, :8].flatten(1)))[:, None]
    for block in net.trunk:
        trunk = block(trunk, rotation=net.trunk_rotary(torch.zeros(1)))
    local = embedded[:, 8:] + net.to_local(layer_norm(trunk)).view(3, 8, 16)
    for block in net.local:
        local = block(local, rotation=net.local_rotary(torch.arange(8)))
    logits = 15 * torch.tanh(layer_norm(local) @ net.to_logits.weight.T / 15)
    torch.testing.assert_close(net(x)[:, 8:], logits)


def test_books_have_their_own_tokens():
    """The same number in two books is two tokens, in and out; the start token is of none."""
    net = make(2, 4)
    with torch.no_grad():
        net.to_logits.weight.view(2, VOCAB, 16)[1] = 0
    logits = net(tokens())
    assert not logits[:, 1::2].any()
    assert logits[:, 0::2].abs().min() > 0
    ids = []
    net.embedding.register_forward_pre_hook(lambda _, given: ids.append(given[0]))
    x = torch.tensor([[VOCAB, 3, 3, 3, 3]])
    net(x)
    assert ids[0].tolist() == [[2 * VOCAB, 3, VOCAB + 3, 3, VOCAB + 3]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"books": 3, "patch": 4}, "patch 4 must be a multiple of books 3"),
        ({"books": 1, "patch": 5}, "context 48 must be a multiple of patch 5"),
    ],
)
def test_sizes_that_do_not_fit(options, said):
    with pytest.raises(ValueError, match=said):
        make(**options)


def test_too_long_a_sequence():
    with pytest.raises(ValueError, match="49 tokens is longer than the context of 48"):
        make(1, 8)(tokens(49))
