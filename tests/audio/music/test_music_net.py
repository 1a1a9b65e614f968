"""The network: no token knows a later one, decoding with a memory gives the same, and a given melody is kept."""

from functools import partial

import pytest
import torch

from genzoo.contract import Spec
from genzoo.draws import GeneratorNoise
from genzoo.families import Autoregressive
from genzoo_audio.music.net import NO_INTERVAL, REACH, MusicTransformer, interval
from genzoo_audio.music.tokens import END, VOCAB

B, TICKS = 2, 40


@pytest.fixture(scope="module")
def net() -> MusicTransformer:
    torch.manual_seed(0)
    made = MusicTransformer(VOCAB, 32, depth=2, heads=2, ticks=TICKS, window=24).double().eval()
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return made.requires_grad_(False)


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    """The start, then notes that are held for a while, as music's are."""
    generator = torch.Generator().manual_seed(1)
    notes = torch.randint(25, 55, (B, TICKS // 4, 4), generator=generator).repeat_interleave(3, dim=1)
    notes[0, 5] = 0
    x = torch.cat((torch.full((B, 1), VOCAB), notes.flatten(1)), dim=1)
    return x[:, : 4 * (TICKS // 4) * 2]


def test_no_token_knows_a_later_one(net, tokens):
    """Whatever is changed from a place on, the logits before it stay the same bits; those at it change."""
    melody = tokens[:, 1::4]
    for told in (None, melody):
        logits = net(tokens, melody=told)
        for place in (1, 2, 3, 4, 5, 18, 31, tokens.shape[1] - 1):
            other = tokens.clone()
            other[:, place:] = 3 + (other[:, place:] + 11) % 80
            changed = net(other, melody=told)
            assert torch.equal(changed[:, :place], logits[:, :place])
            if told is None or place % 4 != 0:  # after a bass comes a soprano, which is certain where it is told
                assert not torch.equal(changed[:, place], logits[:, place])


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("pieces", [[1] * 80, [1, 4, 4, 71], [3, 1, 1, 2, 9, 30, 1, 33], [80]])
def test_memory(net, tokens, pieces, told):
    """Token by token, or in any pieces, the logits are those of the whole."""
    melody = tokens[:, 1::4] if told else None
    whole = net(tokens[:, :80], melody=melody)
    cache, parts, at = net.make_cache(), [], 0
    for count in pieces:
        parts.append(net(tokens[:, at : at + count], cache=cache, melody=melody))
        at += count
    assert (torch.cat(parts, dim=1) - whole).abs().max() < 1e-10
    cache.clear()
    last = net(tokens[:, :80], cache=cache, melody=melody, last=True)
    assert (last - whole[:, -1:]).abs().max() < 1e-10


def test_the_melody_is_read_ahead(net, tokens):
    """A note to come changes what is written now, from three bars before."""
    melody = tokens[:, 1::4]
    other = melody.clone()
    other[:, 12] = 60 - other[:, 12] // 2
    changed = (net(tokens, melody=other) - net(tokens, melody=melody)).abs().amax(dim=(0, 2)) > 0
    assert changed[1:48].any()
    alone = torch.full_like(melody, -1)
    assert torch.equal(net(tokens, melody=alone), net(tokens))


def test_what_cannot_be(net, tokens):
    """A told soprano has probability 1; END stands only where a soprano would."""
    melody = tokens[:, 1::4]
    p = net(tokens, melody=melody).softmax(dim=-1)
    sopranos = p[:, ::4].gather(2, melody[:, : p[:, ::4].shape[1], None])
    assert (sopranos == 1).all()
    assert (net(tokens).softmax(dim=-1)[..., END].unflatten(1, (-1, 4))[..., 1:] == 0).all()


def test_interval():
    """Seen between pitches only, and up to the reach."""
    a = torch.tensor([40, 30, 88, 1, 0, END, VOCAB, 40])
    b = torch.tensor([40, 33, 1, 88, 40, 40, 40, -1])
    r, no = REACH, NO_INTERVAL
    assert interval(a, b).tolist() == [r, r - 3, 2 * r, 0, no, no, no, no]


def test_family(tokens):
    """Sampled past the context, with and without memory, the same tokens come out; a melody is kept to the note."""
    spec = Spec((4 * TICKS,), vocab=VOCAB, context={"prefix": (-1,), "melody": (-1,)})
    model = Autoregressive(spec, partial(MusicTransformer, dim=32, depth=1, heads=2, ticks=32)).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    made = [
        model.sample(
            2, {}, GeneratorNoise(torch.Generator().manual_seed(3)), length=4 * 38, cache=cache, temperature=2.0
        )
        for cache in (True, False)
    ]
    assert torch.equal(*made)
    melody = tokens[:, 1 : 4 * 16 : 4]
    made = model.sample(
        2, {"melody": melody}, GeneratorNoise(torch.Generator().manual_seed(0)), length=4 * 16, temperature=2.0
    )
    assert torch.equal(made[:, ::4], melody)
    total = model.log_prob(made, {"melody": melody})
    assert torch.isfinite(total).all()
    assert (total > model.log_prob(made, {})).all()
