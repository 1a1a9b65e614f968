"""How samples come into the network."""

import pytest
import torch

from attention_core import LayerCache
from genzoo_audio.coding import MuLaw
from genzoo_audio.net import SampleEmbedding


def test_values_are_those_of_the_levels():
    """What a linear map sees of a token is its level, companded and as it sounds; start and end are silence."""
    values = SampleEmbedding(258, 8).values_t2
    linear = torch.from_numpy(MuLaw().decode(torch.arange(256).numpy()))
    torch.testing.assert_close(values[:256, 1] / 8, linear, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(values[:256, 0] / 4, torch.arange(256) / 127.5 - 1)
    assert not values[256:].any()


@pytest.mark.parametrize("pieces", [(1,) * 12, (5, 7), (3, 1, 8)])
def test_piece_by_piece(pieces):
    """With a memory, the vectors of the whole; a change reaches `taps` samples on and no further."""
    embed = SampleEmbedding(257, 8, taps=4)
    x = torch.randint(256, (2, 12))
    whole, cache = embed(x), LayerCache(0)
    parts = [embed(part, cache=cache) for part in x.split(pieces, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)
    other = x.clone()
    other[:, 5] = (other[:, 5] + 100) % 256
    changed = (embed(other) - whole).abs().amax(dim=(0, 2)) > 1e-7
    assert changed.nonzero().flatten().tolist() == [5, 6, 7, 8]
