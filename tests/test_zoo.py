"""Weights at hand: those that come with the packages, exports, the hub."""

import json

import pytest
import torch

import genzoo
from genzoo import checkpoint, cli, zoo
from genzoo.errors import UserError
from genzoo.export import export


def test_an_export_is_the_model(smoke_run, tmp_path):
    """It samples as the checkpoint does, loads from the lone file, and says nothing of where it was made."""
    files = export(smoke_run, tmp_path / "hub")
    assert [file.name for file in files] == ["model.safetensors", "config.json", "README.md"]
    for place in (tmp_path / "hub", files[0]):
        made = [genzoo.load(path).sample(2, prompt="The ", seed=3).x for path in (smoke_run, place)]
        assert torch.equal(*made)
    assert str(smoke_run.parent) not in files[1].read_text() + files[2].read_text()
    assert str(smoke_run.parent).encode() not in files[0].read_bytes()
    about = json.loads(files[1].read_text())
    assert about["parameters"] == sum(p.numel() for p in genzoo.load(smoke_run).model.parameters())


def test_a_path_of_the_user_stays_with_him(text_file, tmp_path, tiny):
    run = genzoo.train("text_smoke", [f"data.path={text_file}", f"out={tmp_path / 'run'}", *tiny])
    files = export(run, tmp_path / "hub")
    assert json.loads(files[1].read_text())["config"]["data"]["path"] == text_file.name
    assert not any(str(tmp_path).encode() in file.read_bytes() for file in files)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(smoke_run, tmp_path, dtype):
    """Half the size; weights are what rounding makes of them, and are float32 again when they are loaded."""
    whole, half = (export(smoke_run, tmp_path / name, dtype=name)[0] for name in ("float32", dtype))
    assert half.stat().st_size < 0.65 * whole.stat().st_size
    before, after = (checkpoint.load(file).weights for file in (whole, half))
    assert {x.dtype for x in after.values()} == {x.dtype for x in before.values()}
    learned = [name for name, _ in genzoo.load(smoke_run).model.named_parameters()]
    assert all(torch.equal(after[name], before[name].to(getattr(torch, dtype)).float()) for name in learned)


def test_small_constants_stay_whole():
    """A standard deviation of 1e-9 would be 0 in float16, and 1e30 infinite; a weight of 1e-9 among others is noise."""
    from genzoo.export import rounded

    half = torch.float16
    assert rounded(torch.tensor([1.0, 1e-9]), half, strict=True).dtype == torch.float32
    assert rounded(torch.tensor([1.0, 1e30]), half, strict=False).dtype == torch.float32
    assert rounded(torch.tensor([1.0, 1e-9]), half, strict=False).dtype == half
    assert rounded(torch.tensor([1.0, 0.0]), half, strict=True).dtype == half
    assert rounded(torch.tensor([1, 2]), half, strict=True).dtype == torch.int64


def test_a_codec_is_rounded_too():
    """What the data's state has under "weights" is a network's; the rest of it are constants."""
    from genzoo.export import rounded_state

    state = {"rate": 8, "weights": {"a": torch.tensor([1.0, 1e-9])}, "std": torch.tensor([1.0, 1e-9])}
    found = rounded_state(state, torch.float16)
    assert (found["rate"], found["weights"]["a"].dtype, found["std"].dtype) == (8, torch.float16, torch.float32)


def test_scores_are_in_the_card(smoke_run_of, tmp_path):
    """Those of the exported weights, with their protocol; and none of other weights of the run."""
    run = smoke_run_of("born")
    report = genzoo.evaluate(run, ["n=8", "seed=5"])
    score = next(key for key, value in report.items() if isinstance(value, float))
    text = export(run, tmp_path / "one")[2].read_text()
    assert f"| {score} | {report[score]:.4g} (split val, n 8, seed 5) |" in text
    lone = tmp_path / "step_000000" / "model.safetensors"
    lone.parent.mkdir()
    lone.write_bytes(checkpoint.resolve(run).read_bytes())
    assert f"| {score} |" not in export(lone, tmp_path / "two")[2].read_text()


def test_a_card_stays(smoke_run, tmp_path):
    """What a person wrote goes with the weights, unchanged."""
    first = export(smoke_run, tmp_path / "one")[2]
    first.write_text("---\nscore: 3 apples\nlicense: cc0-1.0\n---\n\n# Mine\n\nFlaws: many.\n")
    second = export(tmp_path / "one", tmp_path / "two")[2]
    assert second.read_text() == first.read_text()
    assert zoo.card(tmp_path / "two") == zoo.Card(
        {"score": "3 apples", "license": "cc0-1.0"}, "# Mine\n\nFlaws: many.\n"
    )
    assert zoo.card(tmp_path) == zoo.Card({}, "")


def test_the_command(smoke_run, tmp_path, capsys):
    cli.main(["export", str(smoke_run), "--dtype", "float16", "--to", str(tmp_path / "hub")])
    assert capsys.readouterr().out.split() == [
        str(tmp_path / "hub" / name) for name in ("model.safetensors", "config.json", "README.md")
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["RUN"], "--to FOLDER"),
        (["--to", "NEW"], "genzoo export CHECKPOINT"),
        (["RUN", "--to", "FULL"], "is not empty"),
        (["RUN", "--to", "NEW", "--dtype", "int8"], "choose of float32"),
        (["no/run", "--to", "NEW"], "no checkpoint at no/run"),
    ],
)
def test_mistakes(smoke_run, tmp_path, capsys, words, said):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    places = {"RUN": str(smoke_run), "NEW": str(tmp_path / "new"), "FULL": str(tmp_path / "full")}
    with pytest.raises(SystemExit) as error:
        cli.main(["export", *(places.get(word, word) for word in words)])
    assert error.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_from_the_hub(smoke_run, tmp_path, monkeypatch):
    """hf://USER/REPOSITORY is read through huggingface_hub: here from its cache, laid out as it lays it out."""
    import huggingface_hub.constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "models--someone--shapes"
    export(smoke_run, place / "snapshots" / commit)
    export(smoke_run, place / "snapshots" / commit / "inner")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    expected = genzoo.load(smoke_run).sample(1, seed=1).x
    for address in ("hf://someone/shapes", f"hf://someone/shapes@{commit}", "hf://someone/shapes/inner"):
        assert torch.equal(genzoo.load(address).sample(1, seed=1).x, expected)
    with pytest.raises(UserError, match="hf://someone/other is not in the cache"):
        genzoo.load("hf://someone/other")
    for address in ("hf://", "hf://someone", "hf:///shapes"):
        with pytest.raises(UserError, match="give hf://USER/REPOSITORY"):
            genzoo.load(address)


def test_a_name_means_the_run_here_first(smoke_run, tmp_path, monkeypatch, capsys):
    """`genzoo sample video` takes runs/video where there is one, else what comes with genzoo; a path is a path."""
    monkeypatch.chdir(tmp_path)
    assert cli.at_hand("video") == "video"
    assert "genzoo train video makes your own" in capsys.readouterr().err
    assert checkpoint.resolve("video") == zoo.shipped()["video"] / "model.safetensors"
    assert cli.at_hand("no_such_weights") == "runs/no_such_weights"
    (tmp_path / "runs" / "video").mkdir(parents=True)
    assert cli.at_hand("video") == "runs/video"
    (tmp_path / "mine").mkdir()
    for path in ("mine", "runs/video", f"{tmp_path}/runs/video", "runs/no_such_run", "hf://someone/other"):
        assert cli.at_hand(path) == path
    assert not capsys.readouterr().err


def test_what_comes_with_genzoo():
    """At most 8 MB each and 50 MB together; each has a card with a score in one line and a licence, and a configuration
    that names no place of the machine it was made on."""
    folders = zoo.shipped()
    sizes = {name: (folder / "model.safetensors").stat().st_size for name, folder in folders.items()}
    assert max(sizes.values()) <= 8e6
    assert sum(sizes.values()) <= 50e6
    for name, folder in folders.items():
        card = zoo.card(folder)
        assert {"score", "license", "tags"} <= card.about.keys(), name
        assert "\n" not in card.about["score"], name
        for word in ("data", "made by", "time, machine", "scores", "flaws", "licence"):
            assert f"| {word} |" in card.text, (name, word)
        about = json.loads((folder / "config.json").read_text())
        config = checkpoint.load(folder).config
        assert all(about["config"][key] == config[key] for key in ("data", "model", "sampling", "trainer")), name
        assert '"/' not in json.dumps(about), name


def test_list_shows_them(capsys):
    cli.main(["list"])
    lines = capsys.readouterr().out.splitlines()
    for name, folder in zoo.shipped().items():
        assert any(line.startswith(f"{name} ") and zoo.card(folder).about["score"] in line for line in lines)
