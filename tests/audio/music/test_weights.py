"""The weights that come with the package do what their card says."""

import numpy as np

import genzoo
from genzoo_audio.music.metrics import key_of, leaps, out_of_range, parallels


def test_free_pieces():
    """Eight of them: in a key, in range, stepwise, with few parallels; with pitches at random, clarity is about 0.4."""
    model = genzoo.load("music")
    samples = model.sample(8, seed=1)
    pieces = [model.data.piece(x, samples.request) for x in samples.x]
    assert all(piece.shape[0] >= 32 for piece in pieces)
    clarity = np.mean([key_of(piece).clarity for piece in pieces])
    assert abs(clarity - 0.87) < 0.06
    jumps, moves = np.sum([leaps(piece) for piece in pieces], axis=0)
    assert jumps / moves < 0.06
    outside, sounding = np.sum([out_of_range(piece, model.data.ranges) for piece in pieces], axis=0)
    assert outside / sounding < 0.01
    fifths, octaves, changes = np.sum([parallels(piece) for piece in pieces], axis=0)
    assert (fifths + octaves) / changes < 0.08
    mixed = np.random.default_rng(0).integers(48, 72, pieces[0].shape)
    assert key_of(mixed).clarity < 0.7
