"""Windows of clips as examples, wishes as conditions, samples as files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from genzoo.errors import UserError
from genzoo_video.data import VideoData, turned
from genzoo_video.files import read_video
from genzoo_video.output import write_gif


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def glyphs():
    data = VideoData(size=[16, 16], frames=6, known=3, embedded={"clips": 40})
    data.prepare()
    return data


def film(path: Path, frames: int = 40, size: tuple[int, int] = (16, 16)) -> Path:
    """A film in which the brightness of each frame is six times its number."""
    x = np.arange(frames, dtype=np.uint8)[:, None, None, None] * 6 + np.zeros((1, *size, 1), np.uint8)
    np.save(path, x[..., 0])
    return path


def test_glyphs(glyphs):
    assert glyphs.spec.shape == (1, 6, 16, 16)
    assert glyphs.spec.classes == 10
    assert glyphs.spec.context == {"context": (1, 6, 16, 16), "known": (6,)}
    batch = glyphs.batch(0, 8, "train")
    assert batch.x.shape == (8, 1, 6, 16, 16)
    assert batch.x.min() == -1
    assert batch.x.max() == 1
    assert len(glyphs.windows["train"]) == 40
    assert len(glyphs.windows["val"]) == 4
    assert glyphs.fingerprint("train") != glyphs.fingerprint("val")


def test_an_epoch_sees_every_window_once(tmp_path):
    data = VideoData(path=str(film(tmp_path / "a.npy")), frames=4, val_frames=10, continued=0)
    data.prepare()
    assert data.spec.classes == 0
    assert len(data.windows["train"]) == 27
    assert len(data.windows["val"]) == 7
    first = [round((float(x[0, 0, 0, 0]) + 1) * 127.5 / 6) for x in data.batch(0, 27, "train").x]
    assert sorted(first) == list(range(27)), "and none reaches into what validates"
    batch = data.batch(0, 27, "train")
    steps = (batch.x.diff(dim=2) * 127.5).mean((1, 3, 4))
    torch.testing.assert_close(steps, torch.full((27, 3), 6.0), atol=1e-3, rtol=0)


def test_told_frames(glyphs):
    """They are the clip's first ones, the rest of the context is 0, and none, one, two or three of them are told."""
    batch = glyphs.batch(0, 256, "train")
    known = batch.cond["known"]
    counts = known.sum(1)
    assert set(counts.tolist()) == {0, 1, 2, 3}
    assert 0.4 < (counts > 0).float().mean() < 0.6
    mask = known[:, None, :, None, None]
    assert torch.equal(batch.cond["context"], batch.x * mask)
    assert (known.diff(dim=1) <= 0).all(), "first frames"
    swept = torch.cat([b.cond["known"] for b in glyphs.sweep("val", 3)])
    assert torch.equal(swept, torch.cat([b.cond["known"] for b in glyphs.sweep("val", 3)]))


def test_turned():
    """All eight ways, each once."""
    x = torch.arange(9.0).view(1, 3, 3)
    ways = {tuple(turned(x, by).flatten().tolist()) for by in range(8)}
    assert len(ways) == 8
    assert torch.equal(turned(x, 0), x)
    rotations = {tuple(torch.rot90(x, k, (1, 2)).flatten().tolist()) for k in range(4)}
    assert rotations < ways


def test_turning_is_for_training(tmp_path):
    draw = np.random.default_rng(0).integers(0, 255, (30, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "a.npy", draw)
    make = {"path": str(tmp_path / "a.npy"), "frames": 3, "known": 1, "val_frames": 5}
    plain, turning = (VideoData(**make, turn=turn) for turn in (False, True))
    plain.prepare(), turning.prepare()
    assert torch.equal(plain.batch(0, 8, "val").x, turning.batch(0, 8, "val").x)
    one, two = plain.batch(0, 16, "train").x, turning.batch(0, 16, "train").x
    assert not torch.equal(one, two)
    for a, b in zip(one, two, strict=True):
        assert any(torch.equal(turned(a, by), b) for by in range(8)), "all frames of a clip alike"


def test_there_and_back(glyphs):
    x = glyphs.real("val", 3).x
    assert torch.equal(glyphs.encode(glyphs.decode(x[0])), x[0])
    assert glyphs.decode(torch.full((1, 6, 16, 16), 9.0)).max() == 255


def test_state_goes_on_without_files(glyphs):
    other = VideoData(path="nowhere", frames=6)
    other.load_state_dict(glyphs.state_dict())
    assert other.spec == glyphs.spec
    with pytest.raises(UserError, match=r"data\.frames: this model was trained on 6 frames, not 8"):
        VideoData(frames=8).load_state_dict(glyphs.state_dict())
    with pytest.raises(UserError, match="not one of clips"):
        VideoData().load_state_dict({"points": 3})


def test_wishes(glyphs, tmp_path):
    request = glyphs.request(12)
    cond, more = request.cond, request.options
    assert more == {}
    assert cond["label"].tolist() == [*range(10), 0, 1]
    assert cond["known"].sum() == 0
    assert glyphs.request(3, label=7).cond["label"].tolist() == [7, 7, 7]
    clip = glyphs.decode(glyphs.real("val", 1).x[0])
    file = write_gif(clip, tmp_path / "clip.gif", 8, scale=1)
    cond = glyphs.request(2, context=str(file), context_frames=2).cond
    assert cond["label"].tolist() == [10, 10], "no label"
    assert cond["known"].tolist() == [[1, 1, 0, 0, 0, 0]] * 2
    back = glyphs.decode(cond["context"][0])
    assert np.abs(back[:2].astype(int) - clip[-2:].astype(int)).max() <= 3
    assert glyphs.request(1, context=str(file)).cond["known"].sum() == 3, "as many as were learned"


def test_a_picture_is_a_context(glyphs, tmp_path):
    from PIL import Image

    Image.fromarray(np.full((40, 40), 128, np.uint8)).save(tmp_path / "a.png")
    cond = glyphs.request(1, context=str(tmp_path / "a.png")).cond
    assert cond["known"].tolist() == [[1, 0, 0, 0, 0, 0]]
    assert cond["context"][0, 0, 0].mean().item() == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"label": "x"}, "label=x: the classes of this model are 0, 1"),
        ({"context": "nowhere.mp4"}, r"nowhere\.mp4: there is no such file"),
        ({"context_frames": 2}, "context_frames needs context="),
        ({"format": "avi"}, "format is mp4, gif or both"),
        ({"fps": 0.0}, "fps lies above 0"),
        ({"frames": 0}, "frames must be at least 1"),
    ],
)
def test_wrong_wishes(glyphs, wish, message):
    with pytest.raises(UserError, match=message):
        glyphs.request(1, **wish)


def test_too_many_frames_asked_for(glyphs, tmp_path):
    file = write_gif(glyphs.decode(glyphs.real("val", 1).x[0]), tmp_path / "clip.gif", 8, scale=1)
    with pytest.raises(UserError, match="context_frames=4: .* the model is told 1 to 3"):
        glyphs.request(1, context=str(file), context_frames=4)


def test_a_rollout_is_one_clip(glyphs, tmp_path):
    """What follows is told the last frames, and a clip joined of pieces has each frame once."""
    x = torch.randn(2, 1, 6, 16, 16)
    request = glyphs.request(2, label=3)
    cond = request.cond
    pieces = [(x, cond)]
    for _ in range(2):
        cond = glyphs.follow(pieces[-1][0], cond)
        assert torch.equal(cond["context"][:, :, :3], pieces[-1][0][:, :, -3:])
        assert cond["label"].tolist() == [3, 3]
        new = torch.randn_like(x)
        new[:, :, :3] = cond["context"][:, :, :3]
        pieces.append((new, cond))
    joined = glyphs.joined(iter(pieces))
    assert joined.shape[2] == 6 + 3 + 3
    assert torch.equal(joined[:, :, :6], x)
    assert torch.equal(joined[:, :, -3:], pieces[-1][0][:, :, 3:])
    files = glyphs.write_rollout(iter(pieces), tmp_path, request)
    assert [f.name for f in files] == ["000.mp4", "001.mp4", "preview.png"]
    assert read_video(files[0])[0].shape[0] == 12


@pytest.mark.parametrize(("format", "names"), [("gif", ["000.gif"]), ("both", ["000.mp4", "000.gif"])])
def test_files(glyphs, tmp_path, format, names):
    request = glyphs.request(1, format=format, frames=4, fps=5.0)
    files = glyphs.write_all(glyphs.real("val", 1).x, tmp_path, request)
    assert [f.name for f in files] == names
    for file in files:
        frames, fps = read_video(file, size=(16, 16))
        assert len(frames) == 4
        assert fps == pytest.approx(5, rel=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 1}, r"data\.frames is at least 2"),
        ({"frames": 8, "known": 9}, r"data\.known lies from 0 to data\.frames"),
        ({"continued": 1.5}, r"data\.continued from 0 to 1"),
        ({"size": [3]}, r"data\.size is rows and columns"),
        ({"size": [16, 24], "turn": True}, r"data\.turn is for square pictures"),
        ({"embedded": {"shapes": 3}}, r"unknown key data\.embedded\.shapes; there are: clips, glyphs"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(UserError, match=message):
        VideoData(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": [16, 24]}, r"path=glyphs makes square pictures in gray"),
        ({"colour": "rgb"}, r"path=glyphs makes square pictures in gray"),
        ({"path": "nowhere"}, r"data\.path=nowhere: there is no such"),
    ],
)
def test_wrong_data(options, message):
    with pytest.raises(UserError, match=message):
        VideoData(**options).prepare()


def test_clips_of_another_size_or_class_are_refused(glyphs, tmp_path):
    """A trained model resizes clips to its own, and knows only its own classes."""
    np.savez(tmp_path / "a.npz", x=np.random.default_rng(0).integers(0, 255, (4, 8, 20, 20), dtype=np.uint8))
    for label in ("3", "cat"):
        folder = tmp_path / "set" / label
        folder.mkdir(parents=True)
        for i in range(3):
            film(folder / f"{i}.npy", 8)
    other = VideoData(path=str(tmp_path / "set"), frames=6)
    other.load_state_dict(glyphs.state_dict())
    with pytest.raises(UserError, match="the model has no class cat; there are: 0, 1"):
        other.prepare()
