"""Sheets of clips."""

import numpy as np
import pytest
from PIL import Image

from genzoo_audio.pictures import SHOWN, contact_sheet, draw_mel, mel

RATE_HZ = 8000


def tone(hertz: float, seconds: float) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ).astype(np.float32)


def test_sheet(tmp_path):
    """A PNG that grows with the clips, of any length and level; too many are left out, NaN is drawn as silence."""
    waves = [tone(440, 0.2), tone(1000, 0.4), np.zeros(5), np.full(300, np.nan), 9 * tone(100, 0.1)]
    path = contact_sheet(waves, RATE_HZ, tmp_path / "a.png", titles=list("abcdefg"))
    with Image.open(path) as five, Image.open(contact_sheet(waves[:1], RATE_HZ, tmp_path / "b.png")) as one:
        assert path == tmp_path / "a.png"
        assert five.format == "PNG"
        assert five.width > 3 * one.width
        assert five.height > 1.5 * one.height
    contact_sheet([np.ones(2)] * (SHOWN + 1), RATE_HZ, tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as many:
        assert abs(many.width - many.height) < 0.4 * many.width


@pytest.mark.parametrize(("waves", "titles"), [([], None), ([np.ones(0)], None), ([np.ones(9)] * 2, ["a"])])
def test_refused(tmp_path, waves, titles):
    """Nothing to draw, or too few titles."""
    with pytest.raises(ValueError, match="a sheet needs waves and a title for each"):
        contact_sheet(waves, RATE_HZ, tmp_path / "a.png", titles)


@pytest.mark.parametrize("hertz", [500, 2000])
def test_where_a_sine_is(hertz):
    """The brightest line lies at its frequency on the axis of kHz, and its end at its duration on that of seconds."""
    from genzoo.pictures import figure

    axes = figure(3, 3).add_subplot()
    draw_mel(axes, np.pad(tone(hertz, 0.5), (0, 4000)), RATE_HZ)
    (image,) = axes.images
    x0, x1, y0, y1 = image.get_extent()
    pixels = np.asarray(image.get_array())
    height = y0 + (pixels.mean(axis=1).argmax() + 0.5) / len(pixels) * (y1 - y0)
    assert height == pytest.approx(mel(hertz), abs=1.5 * (y1 - y0) / len(pixels))
    loud = pixels.max(axis=0) > pixels.max() - 6
    assert x0 + (np.flatnonzero(loud)[-1] + 0.5) / pixels.shape[1] * (x1 - x0) == pytest.approx(0.5, abs=0.02)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["0.25", "0.5", "1", "2", "4"]
    assert axes.get_yticks()[1] == mel(500)
