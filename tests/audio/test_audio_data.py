"""Clips as examples: every sample is learned from and scored once, labels, wishes, what travels."""

import io
import wave

import numpy as np
import pytest
import soundfile
import torch

from genzoo.contract import Spec
from genzoo.errors import UserError
from genzoo_audio.codec import Codec
from genzoo_audio.coding import CodecTokens
from genzoo_audio.data import WaveData
from genzoo_audio.tokens import TokenData

RATE = 8000
LENGTHS = {"a_x_0": 300, "a_y_0": 1000, "b_x_0": 2500, "b_y_0": 801, "a_x_1": 700, "b_y_1": 1600}
TEMPLATE = "{letter}_{voice}_{}"


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """Six clips of noise, two of them (take 1) for validation."""
    place = tmp_path / "clips"
    place.mkdir()
    generator = np.random.default_rng(0)
    for name, length in LENGTHS.items():
        soundfile.write(place / f"{name}.wav", generator.integers(-9000, 9000, length).astype(np.int16), RATE)
    return place


def tokens(folder, **options) -> TokenData:
    data = TokenData(path=str(folder), labels=TEMPLATE, val_match="*_1.wav", seconds=0.05, **options)
    data.prepare()
    return data


def waves(folder, **options) -> WaveData:
    data = WaveData(path=str(folder), labels=TEMPLATE, val_match="*_1.wav", seconds=0.05, **options)
    data.prepare()
    return data


def small_codec() -> Codec:
    torch.manual_seed(0)
    return Codec(Spec((800,)), rate_hz=RATE, dim=16, heads=2, encoder_depth=1, decoder_depth=1, stages=2, levels=[4, 3])


def as_codec(data: TokenData) -> TokenData:
    """The same data in the tokens of a codec that was never trained."""
    data.coding = CodecTokens(small_codec(), {})
    data.codec = "there"
    data.prepare()
    return data


@pytest.fixture(params=["mulaw", "codec"])
def data(request, folder) -> TokenData:
    if request.param == "mulaw":
        return tokens(folder)
    return as_codec(TokenData(path=str(folder), labels=TEMPLATE, val_match="*_1.wav", seconds=0.06))


def test_what_there_is(folder):
    """Rate, classes with their two fields, the split, and how long it is."""
    data = tokens(folder)
    assert data.rate_hz == RATE
    assert data.classes == ["a_x", "a_y", "b_x", "b_y"]
    assert data.units("val") == 700 + 1600
    assert data.units("train") == sum(LENGTHS.values()) - 2300
    assert data.spec == Spec((400,), 257, 4, {"prefix": (-1,)})
    parts, counts = data.parts_of(np.array([0, 1, 2, 3]))
    assert parts.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert counts == (2, 2)


def test_examples_are_pieces_of_clips(data):
    """Each is a run of a clip of its label, behind the token before it; codes begin with a frame."""
    seen_start = seen_end = False
    for step in range(12):
        batch = data.batch(step, 4, "train")
        for x, prefix, label in zip(batch.x.flatten(1), batch.cond["prefix"], batch.cond["label"], strict=True):
            piece = torch.cat((prefix, x[x >= 0])).numpy()
            at = [
                int(i)
                for place, row in enumerate(data.rows["train"])
                if data.label_of[row] == label
                for i in starts_of(
                    piece,
                    np.concatenate(([data.vocab], data.sequences["train"][place], [data.vocab - 1])),
                )
            ]
            assert at
            assert any(i % data.books == 0 for i in at)
            seen_start |= int(prefix) == data.vocab
            seen_end |= int(piece[-1]) == data.vocab - 1
    assert seen_start
    assert seen_end


def starts_of(piece: np.ndarray, whole: np.ndarray) -> np.ndarray:
    if len(piece) > len(whole):
        return np.zeros(0)
    return np.flatnonzero((np.lib.stride_tricks.sliding_window_view(whole, len(piece)) == piece).all(axis=1))


@pytest.mark.parametrize("size", [1, 3, 64])
def test_a_sweep_scores_each_token_once(data, size):
    """All tokens of the split and its ends, each once, each after what came before it in its clip."""
    scored = []
    for batch in data.sweep("val", size):
        for x, prefix in zip(batch.x, batch.cond["prefix"], strict=True):
            assert (prefix >= 0).all()
            scored.append((prefix, x[x >= 0]))
    expected = np.concatenate([np.append(s, data.vocab - 1) for s in data.sequences["val"]])
    found = np.concatenate([x.numpy() for _, x in scored])
    assert len(found) == len(expected) == data.units("val") + 2
    assert np.array_equal(np.sort(found), np.sort(expected))
    runs = [(p.numpy(), x.numpy()) for p, x in scored if len(p) > 1]
    assert runs
    clips = [np.concatenate(([data.vocab], clip, [data.vocab - 1])) for clip in data.sequences["val"]]
    for prefix, x in runs:
        assert (len(prefix) - 1) % data.books == 0
        assert any(len(starts_of(np.concatenate((prefix, x)), clip)) for clip in clips)
        assert len(prefix) + len(x) <= data.size + 1


def test_labels_that_are_asked_for(folder):
    """A class, a part of its name, or none: each in turn."""
    data = tokens(folder)
    assert data.wanted(2, "b_x").tolist() == [2, 2]
    assert data.wanted(3, "y").tolist() == [1, 3, 1]
    assert sorted(data.wanted(8, None).tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]
    with pytest.raises(UserError, match=r"label=c: the classes of this model are a_x, a_y, b_x, b_y"):
        data.wanted(1, "c")


def test_prompt_goes_before(folder, tmp_path):
    """Its tokens are the prefix, and the file that is written begins with it."""
    data = tokens(folder)
    request = data.request(2, prompt=str(folder / "a_x_0.wav"), seconds=0.01)
    cond, more = request.cond, request.options
    assert cond["prefix"].shape == (2, 301)
    assert cond["prefix"][0, 0] == 257
    assert more["length"] == 80
    end = torch.tensor([[1, 2], [5, 256]])
    assert more["stop"](end).tolist() == [False, True]
    file = data.write(torch.tensor([128] * 80), tmp_path / "out", request)
    sound, rate = soundfile.read(file)
    assert (len(sound), rate) == (380, RATE)
    prompt = soundfile.read(folder / "a_x_0.wav")[0]
    assert np.abs(sound[:300] - prompt).max() < 0.02


def test_a_sample_ends_where_the_model_ends_it(data):
    """What follows the end, or fills up, is no sound; half a frame neither."""
    x = torch.full((data.size,), -1)
    x[: 3 * data.books + data.books // 2] = 1
    assert len(data.wave(x)) == 3 * data.coding.hop
    x[2 * data.books :] = data.vocab - 1
    assert len(data.wave(x)) == 2 * data.coding.hop
    assert len(data.wave(torch.full((data.size,), -1))) == 0


def test_playing_is_writing(data, tmp_path):
    """The sound streamed is the sound written, behind a header that players read."""

    class Pipe(io.BytesIO):
        def isatty(self) -> bool:
            return False

    request = data.request(1)
    x = torch.from_numpy(data.sequences["val"][0][: 8 * data.books])
    out = Pipe()
    data.play(iter(x[:, None]), out, request)
    head, sound = out.getvalue()[:44], np.frombuffer(out.getvalue()[44:], "<i2")
    with wave.open(io.BytesIO(head[:40] + len(sound).to_bytes(4, "little") + sound.tobytes())) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
    written = soundfile.read(data.write(x, tmp_path / "x", request), dtype="int16")[0]
    assert np.abs(sound.astype(int) - written).max() <= 1


def test_sound_is_not_written_to_a_terminal(folder):
    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    with pytest.raises(UserError, match="player or a file"):
        tokens(folder).play(iter(()), Terminal(), tokens(folder).request(1))


def test_what_travels(data, folder):
    """The state makes another data object that codes, decodes and names classes alike, without the files."""
    state = data.state_dict()
    if data.codec:
        state["coding"] = {
            **state["coding"],
            "config": {
                "_target_": "genzoo_audio.Codec",
                "_partial_": True,
                "rate_hz": RATE,
                "dim": 16,
                "heads": 2,
                "encoder_depth": 1,
                "decoder_depth": 1,
                "stages": 2,
                "levels": [4, 3],
            },
        }
    other = TokenData(path="nowhere", seconds=data.seconds, tokens="codec" if data.codec else "mulaw", codec=data.codec)
    other.load_state_dict(state)
    assert other.spec == data.spec
    assert other.classes == data.classes
    x = torch.from_numpy(data.sequences["val"][0])
    assert np.array_equal(other.wave(x), data.wave(x))


def test_waves_of_a_codec(folder):
    """Examples are the samples of the files, filled up with silence; a sweep gives all of them once."""
    data = waves(folder)
    batch = data.batch(0, 16, "train")
    assert batch.x.shape == (16, 400)
    clips = {name: soundfile.read(folder / f"{name}.wav", dtype="float32")[0] for name in LENGTHS}
    short = [x for x in batch.x if not x[300:].any()]
    assert all(np.array_equal(x[:300], clips["a_x_0"]) for x in short)
    total = torch.cat([b.x for b in data.sweep("val", 4)]).flatten()
    assert total.abs().sum().item() == pytest.approx(sum(np.abs(clips[n]).sum() for n in ("a_x_1", "b_y_1")), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tokens": "codec"}, r"data\.codec"),
        ({"codec": "x"}, r"data\.codec"),
        ({"seconds": 0.0}, r"data\.seconds"),
        ({"stride": 1.0}, r"data\.stride"),
        ({"val_fraction": 0.0}, r"data\.val_fraction"),
    ],
)
def test_options_that_cannot_be(options, said):
    with pytest.raises(UserError, match=said):
        TokenData(**options)


def test_a_codec_that_is_not_there(folder):
    with pytest.raises(UserError, match=r"data\.codec: .*nowhere.*genzoo train audio_codec"):
        TokenData(path=str(folder), tokens="codec", codec="nowhere").prepare()


def test_another_split(folder):
    with pytest.raises(UserError, match="split is train or val for this data"):
        tokens(folder).units("test")
