"""The gallery: one page that needs nothing else, with every kind of exhibit, and commands that make them again."""

import base64
import html
import io
import re
import shlex
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
import torch

import genzoo
from genzoo import cli, zoo
from genzoo.config import compose_config, plain
from genzoo.contract import Data, Request
from genzoo.errors import UserError
from genzoo.exhibition import command, written
from genzoo.page import items
from genzoo.page.items import Cloud
from genzoo.page.page import as_html, three

from .conftest import NASTY, SHOWS

LOADING = {"src", "href", "data", "action", "srcset", "poster", "xlink:href"}


class Reader(HTMLParser):
    """Tags with their attributes, and the text of the elements that are asked for."""

    def __init__(self, *kept: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.kept, self.open = kept, 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in self.kept:
            self.open += 1
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.open -= tag in self.kept

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[-1] += data


def read(text: str, *kept: str) -> Reader:
    reader = Reader(*kept)
    reader.feed(text)
    return reader


def commands(text: str) -> list[str]:
    found = re.findall(r'<div class="command"><code>(.*?)</code>', text, re.DOTALL)
    return [line for lines in found for line in html.unescape(lines).splitlines()]


def test_the_page_stands_alone(page):
    """What it loads is in it, and its policy forbids all else."""
    reader = read(page.text)
    for tag, about in reader.tags:
        for name in LOADING & about.keys():
            assert about[name].startswith(("data:", "#")), f"{tag} {name}={about[name][:60]}"
    assert not [tag for tag, _ in reader.tags if tag in ("iframe", "object", "embed", "base", "form")]
    style = "".join(read(page.text, "style").texts)
    assert "@import" not in style
    assert "url(" not in style
    policy = next(about["content"] for _, about in reader.tags if about.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert len(page.text) < 3e6


def test_every_kind_is_there(page):
    """Text, a picture, a sound, films, a cloud, a surface, a motion and the circuit: as many as were asked for."""
    reader = read(page.text)
    classes = [about.get("class", "").split()[1] for tag, about in reader.tags if tag == "figure"]
    counts = {kind: classes.count(kind) for kind in set(classes)}
    assert counts == {"words": 2, "sound": 2, "cloud": 3, "clip": 2, "picture": 2}
    assert [about["id"] for tag, about in reader.tags if tag == "section"] == [f"model-{name}" for name in SHOWS]
    images = [about for tag, about in reader.tags if tag == "img"]
    assert images
    assert all(about["alt"] for about in images)
    assert all(about["aria-label"] for tag, about in reader.tags if tag in ("audio", "video", "canvas"))


def test_files_in_the_page(page, weights):
    """The sound has the length of its piece, the film its frames."""
    import av

    from genzoo_audio.music.output import sound as played

    reader = read(page.text)
    sound, film = (
        base64.b64decode(next(about["src"] for tag, about in reader.tags if tag == name).partition(",")[2])
        for name in ("audio", "video")
    )
    wave, rate_hz = soundfile.read(io.BytesIO(sound))
    music = genzoo.load(weights["music"])
    samples = music.sample(1, seed=0, ticks=32)
    piece = music.data.piece(samples.x[0], samples.request)
    assert len(wave) / rate_hz == pytest.approx(len(played(piece, beats_per_minute=80, rate_hz=4000)) / 4000, abs=0.1)
    assert np.abs(wave).max() > 0.05
    with av.open(io.BytesIO(film)) as opened:
        frames = [frame.to_ndarray(format="gray") for frame in opened.decode(video=0)]
    assert len(frames) == genzoo.load(weights["video"]).data.frames


def test_nasty_words_stay_words(page):
    """Captions, cards and samples are text: nothing in them becomes a tag."""
    reader = read(page.text, "h3", "details", "dd")
    assert NASTY in reader.texts
    assert f"1.5 nats & {NASTY}" in reader.texts
    assert sum(tag == "script" for tag, _ in reader.tags) == 5  # three clouds, three.js, ours
    assert not [about for _, about in reader.tags if any(name.startswith("on") for name in about)]
    card = next(text for text in reader.texts if "A card" in text)
    assert NASTY in card
    assert "https://example.org/a" in card
    assert ("td", {}) in reader.tags


def test_commands_make_the_same_again(page, weights, monkeypatch, tmp_path, capsys):
    """Each command is one of ours, and gives the sample that is shown."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(zoo, "shipped", lambda: weights)
    found = commands(page.text)
    assert len(found) == sum(1 + ("first" in options) for samples in SHOWS.values() for options in samples)
    for i, line in enumerate(found):
        words = shlex.split(line)
        assert words[:2] == ["genzoo", "sample"]
        cli.main([*words[1:], *([] if "out=first" in words else [f"out={i}"])])
    capsys.readouterr()
    shown = read(page.text, "pre").texts
    assert [file.read_text(encoding="utf-8") for file in sorted((tmp_path / "0").glob("*.txt"))] == shown
    assert (tmp_path / "first" / "000.mid").is_file()
    assert any((tmp_path / "3").glob("*.mid"))


@pytest.mark.parametrize(
    "asked",
    [
        {"prompt": 'it\'s "so" & $HOME;\nthen {a}, [b]=c'},
        {"stop": [".", "a b"]},
        {"label": "7", "mesh": True},
        {"x": 1},
    ],
)
def test_command_survives_the_shell(asked):
    """What a shell and the verb's own reading make of the words is what was asked."""
    from genzoo.config import assignments, readable

    words = shlex.split(command("runs/my run", {"n": 1, "rollout": 1, "seed": 3, **asked}))
    assert words[:3] == ["genzoo", "sample", "checkpoint=runs/my run"]
    hints = {"prompt": str, "label": str, "stop": list[str]}
    read_back = dict(assignments([readable(word, hints=hints) for word in words[3:]]))
    assert read_back == {**asked, "seed": 3}


def test_values_as_words():
    """As hydra reads them."""
    assert [written(x) for x in (True, None, 0.5, "a", [1, "b"])] == ["true", "null", "0.5", "a", "[1,b]"]


def test_a_run_of_ones_own(weights, tmp_path, monkeypatch, capsys):
    """`checkpoints` shows what its preset samples; the page gets the next free name, and nothing is overwritten."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gallery.html").write_text("mine")
    cli.main(["gallery", f"checkpoints=[{weights['born']}]", "n=3"])
    assert (tmp_path / "gallery.html").read_text() == "mine"
    text = (tmp_path / "gallery_001.html").read_text(encoding="utf-8")
    assert commands(text) == [f"genzoo sample checkpoint={weights['born']} n=3 seed=0"]
    assert len(text) < 2e5  # three.js is there only where there is something to turn
    assert "born: 2 exhibits" in capsys.readouterr().out


def test_models_by_name(weights, tmp_path, monkeypatch, capsys):
    """`genzoo gallery text` is the page of one model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(zoo, "shipped", lambda: weights)
    cli.main(["gallery", "text", "shows.text.samples=[{length:5}]", "out=one"])
    assert [about["id"] for tag, about in read((tmp_path / "one.html").read_text()).tags if tag == "section"] == [
        "model-text"
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nonesuch"], "models=nonesuch: there is no such show"),
        (["models=[txt]"], "did you mean text?"),
        (["audio"], "models=audio: these weights are not here"),
        (["out=taken.html"], "out=taken.html is there already"),
        (["checkpoints=[runs/none]"], "no checkpoint at runs/none"),
        (["n=0"], "n must be at least 1"),
        (["n=many"], "n=many"),
        (["text", "shows.text.samples=[{nn:3}]"], "text: unknown option nn"),
        (["text", "shows.text.samples=[{n:0}]"], "text: n must be at least 1"),
        (["text", "shows.text.samples=[{rollout:2}]"], "text: rollout is for data that goes on in time"),
        (["text", "shows.text.samples=3"], "shows.text.samples=3"),
        (["text", "+shows.text.sample=[]"], "unknown key shows.text.sample, did you mean samples?"),
        (["seeds=1"], "unknown key seeds, did you mean seed?"),
        (["+foo=1"], "unknown key foo"),
    ],
)
def test_refusals(words, says, weights, monkeypatch, tmp_path, refused):
    """One line that names the key and the mend."""
    monkeypatch.setattr(zoo, "shipped", lambda: weights)
    (tmp_path / "taken.html").write_text("mine")
    assert says in refused("gallery", *words)


def test_no_weights_at_all(monkeypatch, refused):
    monkeypatch.setattr(zoo, "shipped", dict)
    assert "checkpoints=[runs/text]" in refused("gallery")


def test_shows_are_whole():
    """What is shipped can be shown: titles, sentences, and options that the preset of that name has."""
    from genzoo.config import build, keywords, locate

    for name, show in plain(compose_config("gallery", []))["shows"].items():
        assert show["title"]
        assert show["about"].endswith(".")
        config = plain(compose_config("train", [f"preset={name}"]))
        model, data = locate(config["model"]["_target_"], "model"), build(config["data"], Data, "data")
        known = {*keywords(model.sample), *keywords(data.request), "n", "rollout", "seed", "caption", "first"}
        for options in show["samples"]:
            assert options.keys() <= known


def test_default_of_the_contract(tmp_path):
    """A modality that says nothing of pages is shown by its words, or else by its preview."""
    from genzoo.contract import Data

    class Said(Data):
        batch = load_state_dict = prepare = spec = state_dict = sweep = write = None

        def describe(self, x, request):
            return f"<{int(x)}>"

    class Drawn(Said):
        describe = Data.describe

        def preview(self, samples, path, request):
            from genzoo.pictures import figure, save

            return save(figure(2, 1), path.with_suffix(".png"))

    class Mute(Said):
        describe = Data.describe

    pieces = [(torch.arange(2), {})]
    assert [words.text for words in Said().exhibits(pieces, tmp_path, Request(2))] == ["<0>", "<1>"]
    (picture,) = Drawn().exhibits(pieces, tmp_path, Request(2))
    assert (picture.kind, picture.width, picture.height) == ("picture", 240, 120)
    assert Mute().exhibits(pieces, tmp_path, Request(2)) == []


def test_cloud_packed():
    """Coordinates come back to within half a step, whatever their place and size."""
    points = np.random.default_rng(0).normal(size=(3, 50, 3)) * 7 + 100
    packed = Cloud(points=points, colours=np.zeros((50, 3)), ball=0.1, rate_hz=12).packed()
    numbers = np.frombuffer(base64.b64decode(packed["points"]), "<i2").reshape(points.shape)
    middle = (points.min(axis=(0, 1)) + points.max(axis=(0, 1))) / 2
    reach = np.abs(points - middle).max()
    assert np.abs(numbers / items.STEPS * reach + middle - points).max() <= 0.5001 * reach / items.STEPS
    assert packed["frames"] == 3
    assert packed["ball"] == pytest.approx(0.1 / reach)
    one = Cloud(points=np.zeros((1, 1, 3)), colours=np.zeros((1, 3))).packed()  # no size: no division by it
    assert np.frombuffer(base64.b64decode(one["points"]), "<i2").tolist() == [0, 0, 0]


@pytest.mark.parametrize("size", [(32, 32), (33, 17)])
def test_film(size):
    """As many frames as were given, at their rate; odd sides get one more pixel."""
    import av

    frames = np.random.default_rng(0).integers(0, 255, (7, *size, 3), dtype=np.uint8)
    film = items.film(frames, 8)
    with av.open(io.BytesIO(film.data)) as opened:
        stream = opened.streams.video[0]
        shapes = [frame.to_ndarray(format="rgb24").shape for frame in opened.decode(video=0)]
        assert stream.average_rate == 8
    assert shapes == [(film.height, film.width, 3)] * 7
    assert (film.height, film.width) == tuple(side + side % 2 for side in size)


def test_card_as_html():
    """Headings, tables and addresses stay; links and pictures that would lead out, and HTML, do not."""
    made = as_html("# A\n\n[b](javascript:x) <b>c</b> ![d](http://e)\n\n| f | g |\n|---|---|\n| 1 | 2 |\n")
    assert "<h1>A</h1>" in made
    assert "<td>1</td>" in made
    assert not re.search(r"<(a|img|b)\b", made)


def test_missing_libraries(monkeypatch, refused, weights):
    """Each is one line that names the extra."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "jinja2", None)
        assert "pip install 'genzoo[gallery]'" in refused("gallery", f"checkpoints=[{weights['born']}]")
    for name, call in (("av", lambda: items.film(np.zeros((1, 2, 2, 3), np.uint8), 1)), ("trimesh", three)):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(UserError, match=r"genzoo\[gallery\]"):
                call()
