"""The codec: codes and back, causality, streaming that is the same sound, and what it learns."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from genzoo.contract import Batch, Spec
from genzoo.draws import GeneratorNoise
from genzoo_audio.codec import Codec, ResidualQuantiser
from genzoo_audio.coding import CodecTokens, MuLaw, load_coding
from genzoo_audio.critic import SpectrumCritic

CONFIG = dict(rate_hz=8000, dim=32, heads=2, encoder_depth=1, decoder_depth=2, window=4, stages=3, levels=[5, 3])
HOP = 160


def make(**options) -> Codec:
    """Small, with weights that leave no branch at zero."""
    torch.manual_seed(0)
    codec = Codec(Spec((4 * HOP,)), **{**CONFIG, **options})
    for p in codec.parameters():
        nn.init.normal_(p, std=0.2)
    nn.init.constant_(codec.to_spectrum.bias, -2.0)
    return codec.eval()


def noise(samples: int, n: int = 1) -> torch.Tensor:
    return 0.3 * torch.randn(n, samples, generator=torch.Generator().manual_seed(1))


# The quantiser


def test_every_code_is_itself():
    """Each code's vector, given back to its stage, is that code again; codes lie in range, and all of them occur."""
    quantiser = ResidualQuantiser(8, 1, [5, 4, 3])
    codes = torch.arange(60)[None, :, None]
    places = (codes[..., 0, None] // quantiser.unit) % quantiser.count.long()
    middle = torch.logit((places + 0.5) / quantiser.count) / 2
    again = (quantiser._place(middle).round().long() * quantiser.unit).sum(-1)
    assert torch.equal(again, codes[..., 0])
    values = quantiser._centred(places.float())
    assert values.min() == -1
    assert values.max() == 1
    assert len(values.view(60, 3).unique(dim=0)) == 60


def test_lookup_is_what_training_saw():
    """What codes stand for is what the quantiser gave when it made them; the first stages alone are a part of it."""
    quantiser, x = ResidualQuantiser(8, 3, [5, 3]), torch.randn(2, 7, 8)
    said, codes = quantiser(x)
    assert codes.shape == (2, 7, 3)
    assert 0 <= codes.min() <= codes.max() < 15
    torch.testing.assert_close(quantiser.lookup(codes), said)
    few, _ = quantiser(x, torch.tensor([1, 3]))
    torch.testing.assert_close(few[0], quantiser.lookup(codes[:1, :, :1])[0])
    torch.testing.assert_close(few[1], said[1])


def test_gradients_pass_the_rounding():
    """To the encoder, and to every stage that counts."""
    quantiser = ResidualQuantiser(8, 2, [5, 3])
    x = torch.randn(1, 3, 8, requires_grad=True)
    quantiser(x)[0].square().sum().backward()
    assert x.grad.abs().min() > 0
    assert all(p.grad.abs().max() > 0 for p in quantiser.parameters())


# The codec


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 1000])
def test_lengths(samples):
    """A frame for every 160 samples begun; a clip comes back as long as it was."""
    codec, x = make(), noise(samples, 2)
    codes = codec.encode(x)
    assert codes.shape == (2, math.ceil(samples / HOP), 3)
    assert codec.decode(codes).shape == (2, codes.shape[1] * HOP)
    assert codec.sample(2, {"clip": x}, GeneratorNoise(torch.Generator())).shape == x.shape


def test_the_inverse_transform_is_one():
    """Windows of a wave, added up again, are that wave."""
    codec, x = make(), noise(10 * HOP)
    side = codec.size // 2
    pieces = nn.functional.pad(x, (side, side)).unfold(1, codec.size, codec.step)[:, : 10 * codec.fine]
    back = codec._overlapped(pieces * codec.hann * codec.hann)
    torch.testing.assert_close(back[:, : -codec.late], x[:, : -codec.late], atol=1e-5, rtol=0)


def test_the_decoder_is_causal():
    """A later frame changes nothing but the last `late` samples before it; an earlier one nothing beyond `reach`."""
    codec = make()
    codes = torch.randint(15, (1, 60, 3), generator=torch.Generator().manual_seed(0))
    whole = codec.decode(codes)
    cut = codec.decode(codes[:, :30])
    stays = 30 * HOP - codec.late
    torch.testing.assert_close(cut[:, :stays], whole[:, :stays], atol=1e-5, rtol=1e-4)
    assert (cut[:, stays:] - whole[:, stays : 30 * HOP]).abs().max() > 1e-3
    late = codec.decode(codes[:, 10:])
    torch.testing.assert_close(late[:, codec.reach * HOP :], whole[:, (10 + codec.reach) * HOP :], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("frames", [0, 1, 4, 5, 6, 83])
def test_streaming_is_the_same_sound(frames):
    """Piece by piece, in bounded memory, what decoding at once gives."""
    coding = CodecTokens(make(), {})
    tokens = np.random.default_rng(0).integers(15, size=3 * frames)
    decoder, pieces, most = coding.decoder(), [], 0
    for token in tokens:
        pieces.append(decoder.feed(int(token)))
        most = max(most, len(decoder.tokens))
    pieces.append(decoder.flush())
    np.testing.assert_allclose(np.concatenate(pieces), coding.decode(tokens), atol=1e-5)
    assert most <= 3 * (coding.codec.reach + 12)
    if frames > 60:
        assert sum(len(p) > 0 for p in pieces) > 10


def test_fewer_stages():
    """Are a coarser file of the same codes, and refused where there are none."""
    codec, x = make(), noise(800)
    one = codec.sample(1, {"clip": x}, GeneratorNoise(torch.Generator()), stages=1)
    torch.testing.assert_close(one, codec.decode(codec.encode(x)[..., :1])[:, :800])
    with pytest.raises(ValueError, match="stages must lie between 1 and 3, not 4"):
        codec.sample(1, {"clip": x}, GeneratorNoise(torch.Generator()), stages=4)


def test_bitrate():
    """50 frames a second, three stages of log2(15) bits."""
    assert make().bits_per_second == pytest.approx(50 * 3 * math.log2(15))


def test_it_learns_a_sound():
    """The distance of one clip falls to less than half in a few steps, with gradients to all parameters."""
    torch.manual_seed(0)
    codec = Codec(Spec((800,)), **CONFIG, stage_dropout=0.0)
    x = 0.4 * torch.sin(2 * torch.pi * 440 * torch.arange(800) / 8000).expand(2, -1)
    optimizer = torch.optim.AdamW(codec.parameters(), lr=5e-3)
    losses = []
    for _ in range(40):
        loss = codec.loss(Batch(x), torch.Generator().manual_seed(0)).value.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in codec.parameters())
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(
    ("options", "said"),
    [({"hop": 100}, "hop=100 must be a multiple"), ({"levels": [1]}, "levels at least 2"), ({"stages": 0}, "stages")],
)
def test_sizes_that_do_not_fit(options, said):
    with pytest.raises(ValueError, match=said):
        make(**options)


def test_a_codec_of_tokens_is_refused():
    with pytest.raises(ValueError, match="a codec needs waves"):
        Codec(Spec((4,), vocab=3), rate_hz=8000)


# Coding as a part of another model's checkpoint


def test_coding_comes_back():
    """From its plain values and tensors: the same tokens, the same sound."""
    codec = make()
    config = {"_target_": "genzoo_audio.Codec", "_partial_": True, **CONFIG}
    coding = CodecTokens(codec, config)
    again = load_coding(coding.state_dict())
    wave = noise(2000)[0].numpy()
    (tokens,) = coding.encode_all([wave])
    assert np.array_equal(again.encode_all([wave])[0], tokens)
    assert np.array_equal(again.decode(tokens), coding.decode(tokens))
    assert load_coding(MuLaw().state_dict()).vocab == 256


def test_mu_law():
    """Levels are those of the formula, every level survives the round trip, and the error is at most half a step."""
    coding = MuLaw()
    levels = np.arange(256)
    assert np.array_equal(coding.encode_all([coding.decode(levels)])[0], levels)
    x = np.linspace(-1, 1, 5001, dtype=np.float32)
    (tokens,) = coding.encode_all([x])
    companded = np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256)
    assert np.abs(tokens / 127.5 - 1 - companded).max() <= 0.5 / 127.5 + 1e-5
    decoder = coding.decoder()
    streamed = np.concatenate([*(decoder.feed(int(t)) for t in tokens[:50]), decoder.flush()])
    assert np.array_equal(streamed, coding.decode(tokens[:50]))


# The critic


def test_critic_hears_waves():
    """A score for many places; silence and noise apart; none but waves."""
    torch.manual_seed(0)
    critic = SpectrumCritic(Spec((1600,)), rate_hz=8000, dim=4, depth=2)
    for p in critic.parameters():
        nn.init.normal_(p, std=0.3)
    x = noise(1600, 3)
    scores = critic(x)
    assert scores.ndim == 2
    assert scores.shape[0] == 3
    assert scores.shape[1] > 100
    assert (critic(torch.zeros_like(x)) - scores).abs().mean() > 1e-3
    with pytest.raises(ValueError, match="hears waves"):
        SpectrumCritic(Spec((4,), vocab=3), rate_hz=8000)
