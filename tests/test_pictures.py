"""The picture of a run's losses."""

import csv
import struct
import subprocess
import sys

import pytest

from genzoo import pictures
from genzoo.pictures import training_curve


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, kept to be looked at."""
    figures = []
    save = pictures.save
    monkeypatch.setattr(pictures, "save", lambda picture, path: figures.append(picture) or save(picture, path))
    return figures


def test_curve_of_a_run(smoke_run, tmp_path, drawn):
    """A PNG whose two lines are the losses of the log, training and validation, over their steps."""
    file = training_curve(smoke_run / "log.csv", tmp_path / "curve.png")
    assert file == tmp_path / "curve.png"
    content = file.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", content[16:24]) == (720, 480)
    rows = list(csv.DictReader((smoke_run / "log.csv").read_text().splitlines()))
    [axes] = drawn[0].axes
    assert [line.get_label() for line in axes.lines] == ["train", "val"]
    for line in axes.lines:
        mine = [row for row in rows if row["split"] == line.get_label()]
        assert len(mine) >= 2
        assert list(line.get_xdata()) == [int(row["step"]) for row in mine]
        assert list(line.get_ydata()) == [float(row["loss"]) for row in mine]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "loss")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train", "val"]


def test_every_training_leaves_its_curve(smoke_run, tmp_path):
    """The picture in the run folder is that of the run's whole log."""
    again = training_curve(smoke_run / "log.csv", tmp_path / "again.png")
    assert (smoke_run / "curve.png").read_bytes() == again.read_bytes()


def test_one_split_is_enough(tmp_path, drawn):
    """A run that never validates has one line; a row without a loss is no point of it."""
    (tmp_path / "log.csv").write_text("step,split,loss,other\n5,train,2.5,1\n10,train,,1\n15,train,1.5,1\n")
    assert training_curve(tmp_path / "log.csv", tmp_path / "curve.png").is_file()
    [line] = drawn[0].axes[0].lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([5, 15], [2.5, 1.5])


@pytest.mark.parametrize(
    "log", ["", "step,split\n", "step,split,loss\n", "step,split\n5,val\n", "step,split,loss\n5,val,\n"]
)
def test_no_losses_no_picture(tmp_path, log):
    """None, and no file."""
    (tmp_path / "log.csv").write_text(log)
    assert training_curve(tmp_path / "log.csv", tmp_path / "curve.png") is None
    assert not (tmp_path / "curve.png").exists()


def test_pictures_need_no_screen_and_leave_no_state(tmp_path):
    """pyplot, which keeps figures for ever and looks for a display, is not used."""
    (tmp_path / "log.csv").write_text("step,split,loss\n5,train,2.5\n")
    code = (
        "import sys; from pathlib import Path; from genzoo.pictures import training_curve; "
        "assert 'matplotlib' not in sys.modules; "
        "training_curve(Path('log.csv'), Path('curve.png')); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env={"MPLCONFIGDIR": str(tmp_path)})
    assert (tmp_path / "curve.png").is_file()
