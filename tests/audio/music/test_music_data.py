"""Pieces as examples: a pure function of the step, every tick scored once, keys within the ranges of the voices."""

import json

import numpy as np
import pytest
import torch

from genzoo.errors import UserError
from genzoo_audio.music.data import MusicData
from genzoo_audio.music.tokens import END, VOCAB, to_pitches, to_tokens


def pieces(count: int, seed: int = 0, longest: int = 150) -> list[list[list[int]]]:
    generator = np.random.default_rng(seed)
    return [
        (generator.integers((60, 55, 48, 40), (68, 64, 56, 50), (ticks, 4)) + shift).tolist()
        for ticks, shift in generator.integers((20, 0), (longest, 8), (count, 2)).tolist()
    ]


@pytest.fixture
def file(tmp_path) -> str:
    content = {"train": pieces(9), "valid": pieces(5, 1), "test": pieces(3, 2)}
    (tmp_path / "a.json").write_text(json.dumps(content))
    return str(tmp_path / "a.json")


def made(file: str, **options) -> MusicData:
    data = MusicData(**{"path": file, "ticks": 64, "context": 96, **options})
    data.prepare()
    return data


def test_tokens():
    """Pitches come back; what follows the end, and a tick that is not whole, is left out."""
    piece = np.array([[72, 67, 64, 48], [0, 21, 108, 0]])
    tokens = to_tokens(piece)
    assert tokens.min() == 0
    assert tokens.max() == END - 1
    assert np.array_equal(to_pitches(tokens.flatten()), piece)
    more = torch.cat((tokens.flatten(), torch.tensor([5, 5, END, 7, 8]), torch.full((3,), -1)))
    assert np.array_equal(to_pitches(more), piece)


def test_batches_are_pure(file):
    """The same example whoever makes it, in whichever order and company; another one at every step."""
    data, other = made(file), made(file)
    whole = data.batch(3, 8, "train")
    other.batch(7, 8, "train")
    part = other.batch(3, 8, "train", range(2, 5))
    assert torch.equal(part.x, whole.x[2:5])
    assert all(torch.equal(part.cond[name], whole.cond[name][2:5]) for name in whole.cond)
    assert not torch.equal(data.batch(4, 8, "train").x[:, :80], whole.x[:, :80])
    assert not torch.equal(made(file, seed=1).batch(3, 8, "train").x[:, :80], whole.x[:, :80])


def test_examples_are_parts_of_pieces(file):
    """From a bar line on, moved by some semitones, the bass before in front; END where a piece ends."""
    data = made(file, melody=0.5)
    shifts, told = set(), 0
    for step in range(20):
        batch = data.batch(step, 4, "train")
        for x, prefix, melody in zip(batch.x, batch.cond["prefix"], batch.cond["melody"], strict=True):
            example = to_pitches(x)
            found = []
            for piece in data.pieces["train"]:
                real = to_pitches(piece)
                for start in range(0, len(real), 16):
                    part = real[start : start + 64]
                    if len(part) != len(example) or len(set((example - part).flatten().tolist())) > 1:
                        continue
                    found.append((start, real, int((example - part).flat[0])))
            ((start, real, shift),) = found
            shifts.add(shift)
            before = int(to_tokens(real[start - 1, 3] + shift)) if start else VOCAB
            assert prefix.tolist() == [before]
            if start + len(example) == len(real) and 4 * len(example) < len(x):
                assert x[4 * len(example)] == END
                assert (x[4 * len(example) + 1 :] == -1).all()
            if (melody >= 0).any():
                told += 1
                assert torch.equal(melody, x[::4])
    assert 20 < told < 60
    assert len(shifts) > 3


def test_keys_stay_within_the_ranges(file):
    """A voice is never moved out of what the training pieces sing, and a piece at the rim not at all that way."""
    data = made(file, transpose=12)
    for piece in data.pieces["train"]:
        keys = data.keys(piece)
        assert 0 in keys
        for shift in (keys[0], keys[-1]):
            for v, (low, high) in enumerate(data.fitted["ranges"]):
                assert low <= int(piece[:, v].min()) + shift
                assert int(piece[:, v].max()) + shift <= high
    assert made(file, transpose=0).keys(data.pieces["train"][0]) == range(1)


@pytest.mark.parametrize("context", [64, 96, 160])
def test_sweep_scores_every_tick_once(file, context):
    """In its key, whole or in parts; each part knows what came before it, and fits the context."""
    data = made(file, context=context)
    real = sorted(data.pieces["val"], key=len)
    found: list[list[int]] = []
    for batch in data.sweep("val", 2):
        assert batch.cond["prefix"].shape[1] + batch.x.shape[1] - 1 <= 4 * context
        for x, prefix in zip(batch.x.tolist(), batch.cond["prefix"].tolist(), strict=True):
            tokens = [token for token in x if token >= 0]
            if prefix[0] == VOCAB:
                found.append(tokens)
            else:
                assert found[-1][-len(prefix) :] == prefix
                assert (len(found[-1]) - len(prefix) + 1) % 64 == 0  # a bar line
                found[-1] += tokens
    assert found == [piece.flatten().tolist() for piece in real]
    assert data.units("val") == sum(map(len, real))


def test_splits(tmp_path, file):
    """As the file says, or drawn: no piece in two of them, none lost."""
    data = made(file)
    assert [len(data.pieces[split]) for split in ("train", "val", "test")] == [9, 5, 3]
    (tmp_path / "b.json").write_text(json.dumps(pieces(10)))
    data = made(str(tmp_path / "b.json"), val_fraction=0.3)
    everything = sorted(str(p.tolist()) for split in ("train", "val") for p in data.pieces[split])
    assert everything == sorted(str(to_tokens(np.array(p)).tolist()) for p in pieces(10))
    assert [len(data.pieces[split]) for split in ("train", "val", "test")] == [7, 3, 0]
    assert data.fingerprint("val") != data.fingerprint("train")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ticks": 60}, r"data\.ticks must be a multiple of 32"),
        ({"context": 32}, r"data\.ticks=64 must not be above data\.context=32"),
        ({"transpose": 30}, r"data\.transpose must lie from 0 to 24"),
        ({"melody": 1.5}, r"data\.melody must lie from 0 to 1"),
        ({"on_error": "ask"}, r"data\.on_error is stop or skip"),
        ({"path": ""}, r"data\.path is empty"),
        ({"max_ticks": 50}, r"max_ticks is 50"),
    ],
)
def test_mistakes(file, options, said):
    with pytest.raises(UserError, match=said):
        made(**{"file": file, **options}) if "path" not in options else made(options["path"])


def test_one_piece_is_too_few(tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(pieces(1)))
    with pytest.raises(UserError, match="of 1 pieces none is left"):
        made(str(tmp_path / "one.json"))
