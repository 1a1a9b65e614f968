"""Windows of sequences as examples: pure functions of what they are for, in the data's units when written."""

import numpy as np
import pytest
import torch

from genzoo.errors import UserError
from genzoo_points.motion.data import MotionData

SMALL = {"frames": 8, "past": 4, "points": 64, "dense": 64}


def made(**options) -> MotionData:
    data = MotionData(**{**SMALL, "embedded": {"sequences": 6, "frames": 24}, **options})
    data.prepare()
    return data


@pytest.fixture(scope="module")
def data() -> MotionData:
    return made()


def walks(n: int = 6, frames: int = 14, points: int = 64) -> np.ndarray:
    """Clouds of different sizes and places that move along y: [S, T, N, 3]."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(n, 1, points, 3)) * np.linspace(1, 3, n).reshape(-1, 1, 1, 1)
    x = x + 10 * generator.normal(size=(n, 1, 1, 3))
    return (x + 0.1 * np.arange(frames).reshape(1, -1, 1, 1) * (0, 1, 0)).astype(np.float32)


def test_the_past_comes_before(data):
    """Frames of the past and of the example are one window of a sequence; what is not known is not told."""
    batch = data.batch(0, 64, "train")
    known = batch.cond["known"]
    assert set(known.tolist()) == {0.0, 1.0, 2.0, 3.0, 4.0}
    assert 0.3 < (known == 0).float().mean() < 0.7
    given = batch.cond["past"].flatten(2).abs().sum(2) > 0
    assert torch.equal(given.sum(1), known.long())
    assert given[known > 0, -1].all()
    for x, past in zip(batch.x[known == 4], batch.cond["past"][known == 4], strict=True):
        whole = torch.cat((past, x))
        assert whole.diff(n=2, dim=0).norm(dim=-1).max() < 0.5
        assert any((clip.unfold(0, 12, 1)[:, :1].amax((1, 2, 3)) == whole[:, 0].amax()).any() for clip in data.clips)


def test_splits_share_nothing(data):
    """Each class validates on its own share."""
    assert not set(data.rows["train"]) & set(data.rows["val"])
    assert sorted(data.labels[data.rows["val"]]) == list(range(6))
    assert [len(b) for b in data.sweep("val", 4)] == [4, 2]
    assert data.fingerprint("train") != data.fingerprint("val")
    with pytest.raises(UserError, match="split is train or val for this data, not 'test'"):
        data.batch(0, 2, "test")


def test_sets_of_real_sequences():
    """Each class in turn; another turn has the same labels and other sequences."""
    data = made()
    labels = [data.reference(8, "train", turn=i)[1].tolist() for i in range(2)]
    assert labels == [[0, 1, 2, 3, 4, 5, 0, 1]] * 2
    sets = [data.reference(8, "train", turn=i)[0] for i in range(2)]
    assert (sets[0][:, None] - sets[1]).flatten(2).abs().amax(2).min() > 1e-3
    assert len(data.reference(50, "val")[0]) == 6


@pytest.mark.parametrize("mode", ["global", "sequence", "none"])
def test_units(tmp_path, mode):
    """Training data, or each first frame, fill the unit sphere; what comes back has the data's units and place."""
    x = walks()
    np.save(tmp_path / "walks.npy", x)
    data = made(path=str(tmp_path / "walks.npy"), normalise=mode, val_fraction=0.2)
    reach = torch.stack([clip.norm(dim=-1).amax() for clip in data.clips])
    if mode == "global":
        assert torch.stack([data.clips[i].norm(dim=-1).amax() for i in data.rows["train"]]).amax() == pytest.approx(1)
    elif mode == "sequence":
        assert torch.stack([clip[0].norm(dim=-1).amax() for clip in data.clips]).tolist() == pytest.approx([1] * 6)
    else:
        assert reach.max() > 10
    for clip, own in zip(data.clips, torch.from_numpy(x), strict=True):
        np.testing.assert_allclose(data.decode(clip, data.place_of(own)), own, atol=1e-4)
    state = data.state_dict()
    other = MotionData(**SMALL)
    other.load_state_dict(state)
    assert other.spec == data.spec


def test_a_lone_sequence_is_cut_in_time(tmp_path):
    """Its end validates, and no frame is in both; one that is too short is refused."""
    x = walks(1, 40)[0]
    np.save(tmp_path / "one.npy", x)
    data = made(path=str(tmp_path / "one.npy"), normalise="none")
    assert [len(clip) for clip in data.clips] == [28, 12]
    np.testing.assert_array_equal(torch.cat(data.clips), x)
    np.save(tmp_path / "one.npy", x[:23])
    with pytest.raises(UserError, match="at least 24 frames are needed"):
        made(path=str(tmp_path / "one.npy"))


def test_rate(tmp_path):
    """Sequences of another rate are brought to the model's; their speed in units a second stays."""
    np.savez(tmp_path / "fast.npz", points=walks(frames=48), rate_hz=24.0)
    data = made(path=str(tmp_path / "fast.npz"), rate_hz=12.0, normalise="none")
    assert data.fitted["rate_hz"] == 12.0
    assert {len(clip) for clip in data.clips} == {24}
    np.testing.assert_allclose(data.clips[0].diff(dim=0)[..., 1], 0.2, atol=1e-4)
    assert made(path=str(tmp_path / "fast.npz")).fitted["rate_hz"] == 24.0


def test_following(data):
    """The past of the next piece is the end of this one."""
    cond = data.request(2).cond
    x = torch.randn(2, 8, 64, 3)
    after = data.follow(x, cond)
    assert torch.equal(after["past"], x[:, 4:])
    assert after["known"].tolist() == [4, 4]
    assert torch.equal(after["label"], cond["label"])
    short = data.follow(x[:, :3], {**cond, "known": torch.tensor([0.0, 2])})
    assert short["known"].tolist() == [3, 4]
    assert torch.equal(short["past"][:, 1:], x[:, :3])


def test_context(tmp_path):
    """The first frames of a file, in its units, at the model's rate; the last of them are told."""
    np.save(tmp_path / "walks.npy", walks())
    data = made(path=str(tmp_path / "walks.npy"), rate_hz=10.0, normalise="sequence")
    walk = walks(1, 9)[0] + 100
    np.savez(tmp_path / "walk.npz", points=walk, rate_hz=20.0)
    request = data.request(3, context=str(tmp_path / "walk.npz"))
    cond, place = request.cond, request.show.place
    told = data.decode(cond["past"][0].double(), place)
    np.testing.assert_allclose(told, walk[2::2], atol=1e-3)
    assert cond["known"].tolist() == [4, 4, 4]
    request = data.request(1, context=str(tmp_path / "walk.npz"), context_frames=2)
    cond = request.cond
    assert cond["known"].tolist() == [2]
    np.testing.assert_allclose(data.decode(cond["past"][0, 2:].double(), place), walk[[0, 2]], atol=1e-3)
    assert not cond["past"][0, :2].any()
    assert data.joined([(torch.zeros(1, 8, 64, 3), cond)], request.show.given).shape[1] == 10


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"frames": 2}, r"data\.frames must be at least 3"),
        ({"rate_hz": 0.0}, r"data\.rate_hz must be above 0, not 0"),
        ({"normalise": "shape"}, r"data\.normalise is global, sequence or none, not 'shape'"),
        ({"unconditional": 1.5}, r"data\.unconditional from 0 to 1"),
        ({"up": "w"}, r"data\.up is x, y or z"),
        ({"embedded": {"sequences": 6, "frame": 3}}, r"data\.embedded\.frame, did you mean"),
        ({"embedded": {"sequences": 6, "frames": 11}}, r"walker_0000 has 11 frames at 12 a second, and 12 are needed"),
    ],
)
def test_mistakes(options, said):
    with pytest.raises(UserError, match=said):
        made(**options)


def test_other_checkpoints_are_refused(data):
    with pytest.raises(UserError, match="not one of motion"):
        MotionData(**SMALL).load_state_dict({"points": 64, "channels": 3})
    with pytest.raises(UserError, match=r"data\.frames: this model was trained with 8, not 16"):
        MotionData(**{**SMALL, "frames": 16}).load_state_dict(data.state_dict())
