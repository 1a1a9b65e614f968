"""Words of the command line: text as typed, options by signature, and what argparse reads."""

import contextlib
import json
import os
import resource
import runpy
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import yaml

from genzoo import checkpoint, cli
from genzoo.config import compose_config, keywords, plain, sweep
from genzoo.config.options import defaults, in_words, is_plain, is_text, is_texts, optional, wishes
from genzoo.config.words import as_typed
from genzoo.contract import Data, GenerativeModel, Request
from genzoo.errors import UserError

SHIPPED = ("audio", "born", "motion", "music", "points", "text", "video", "weather")


def sampling(name: str, *words: str) -> dict[str, Any]:
    """What `genzoo sample NAME` composes to, of the weights that come with genzoo."""
    return plain(compose_config("sample", [f"checkpoint={name}", *words], saved=checkpoint.config_of(name)))


def scoring(name: str, *words: str) -> dict[str, Any]:
    """What `genzoo evaluate NAME` composes to."""
    return plain(compose_config("evaluate", [f"checkpoint={name}", *words], saved=checkpoint.config_of(name)))


# ---- text is taken as typed


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("audio", "label=7", "7"),
        ("audio", "label=7_george", "7_george"),
        ("points", "label=1", "1"),
        ("video", "label=1e3", "1e3"),
        ("text", "prompt=2024", "2024"),
        ("text", "prompt=true", "true"),
        ("text", "prompt=null", "null"),
        ("text", "prompt=", ""),
        ("text", "prompt= a  b ", " a  b "),
        ("text", "prompt=a=b", "a=b"),
        ("text", "prompt=a, b", "a, b"),
        ("text", "prompt={a: 1}", "{a: 1}"),
        ("text", "prompt=a ${z}", "a ${z}"),
        ("text", "prompt=${oc.env:HOME}", "${oc.env:HOME}"),
        ("text", "prompt=\\${z}", "\\${z}"),
        ("text", 'prompt="quoted"', '"quoted"'),
        ("text", "prompt='quoted'", "'quoted'"),
        ("text", "prompt=it's", "it's"),
        ("text", "+prompt=7", "7"),
        ("text", "prompt=a\\nb\\tc", "a\nb\tc"),
        ("text", "prompt=a\\\\nb", "a\\nb"),
        ("text", "prompt=\\d\\", "\\d\\"),
        ("music", "melody=1234", "1234"),
        ("music", "melody=C:\\new\\tune.mid", "C:\\new\\tune.mid"),
        ("weather", "date=2010-01-31", "2010-01-31"),
        ("weather", "context=null", None),
        ("audio", "label=null", None),
        ("points", "format=glb", "glb"),
    ],
)
def test_text_is_taken_as_typed(name, word, value):
    """Digits stay digits, quotes stay, nothing is interpolated; null leaves out what may be left out."""
    key = word.partition("=")[0].lstrip("+")
    assert sampling(name, word)[key] == value
    assert scoring(name, f"sampling.{key}={word.partition('=')[2]}")["sampling"][key] == value


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ('stop=["\\n\\n"]', ["\n\n"]),
        ("stop=[\\n\\n]", ["\n\n"]),
        ("stop=[1984, true, null]", ["1984", "true", "null"]),
        ("stop=[e, a]", ["e", "a"]),
        ('stop=["a, b", c d]', ["a, b", "c d"]),
        ("stop=['it\\'s', \"\\\\\"]", ["it's", "\\"]),
        ("stop=[${z}]", ["${z}"]),
        ("stop=[.]", ["."]),
        ("stop=['']", [""]),
        ("stop=[]", []),
        ("stop=[ ]", []),
        ("stop=null", None),
    ],
)
def test_lists_of_text(word, value):
    """Their items are taken as typed, or stand in quotes."""
    assert sampling("text", word)["stop"] == value


def test_a_list_of_files():
    """In names of files a backslash is a backslash."""
    assert sampling("points", "between=[1.ply,C:\\new\\2.ply]")["between"] == ["1.ply", "C:\\new\\2.ply"]
    with pytest.raises(UserError, match=r"between=a\.ply: .*list"):
        sampling("points", "between=a.ply")


def test_a_prompt_that_is_a_file(tmp_path, monkeypatch):
    """A file is named as it is, whatever its name would mean in a text."""
    monkeypatch.chdir(tmp_path)
    assert sampling("audio", "prompt=a\\nb.wav")["prompt"] == "a\nb.wav"
    Path("a\\nb.wav").touch()
    assert sampling("audio", "prompt=a\\nb.wav")["prompt"] == "a\\nb.wav"


def test_other_values_keep_their_grammar():
    """Numbers, truth values, null and lists; a value of another kind is refused with the type."""
    found = sampling("text", "temperature=1", "top_k=3", "top_p=null", "length=7", "n=2")
    assert [found[k] for k in ("temperature", "top_k", "top_p", "length", "n")] == [1, 3, None, 7, 2]
    assert sampling("music", "wav=false")["wav"] is False
    assert scoring("weather", "scoring.leads=[1,4]")["scoring"]["leads"] == [1, 4]
    with pytest.raises(UserError, match=r"^top_k=2\.5: .*integer"):
        sampling("text", "top_k=2.5")
    with pytest.raises(UserError, match=r"^scoring\.leads=4: "):
        scoring("weather", "scoring.leads=4")
    with pytest.raises(UserError, match=r"^format=obj: .*'ply', 'glb' or 'npz'"):
        sampling("points", "format=obj")


def test_texts_of_the_verbs_are_not_interpolated(monkeypatch):
    """Files and folders too are named as they are."""
    for value in ("${z}", "runs/${oc.env:HOME}", "'${z}'"):
        config = compose_config("train", ["preset=text_smoke", f"out={value}", f"data.path={value}"])
        assert config.out == config.data.path == value.strip("'")


def test_a_prompt_by_the_command(smoke_run, tmp_path, monkeypatch, capsys):
    """From the words to the sample: three prompts, and samples that end at a new word."""
    monkeypatch.chdir(tmp_path)
    for typed, text in (("A cat\\nand", "A cat\nand"), ('"The', '"The'), ("2", "2")):
        cli.main(["sample", f"checkpoint={smoke_run}", f"prompt={typed}", "length=3", "stream=true"])
        assert capsys.readouterr().out[:-4] == text
    cli.main(["sample", f"checkpoint={smoke_run}", 'stop=["\\n"," "]', "length=400", "out=made"])
    assert Path("made/000.txt").read_text()[-1] in "\n "


@pytest.mark.parametrize(
    ("hint", "text", "texts", "none", "plain_"),
    [
        (str, True, False, False, True),
        (str | None, True, False, True, True),
        (str | int | None, True, False, True, True),
        (Literal["a", "b"], True, False, False, True),
        (Literal["a"] | None, True, False, True, True),
        (Literal["a", 1], False, False, False, True),
        (Literal["auto"] | float, False, False, False, True),
        (int | None, False, False, True, True),
        (list[str], False, True, False, True),
        (list[str] | None, False, True, True, True),
        (Sequence[str], False, True, False, True),
        (str | list[str], False, False, False, True),
        (list[int], False, False, False, True),
        (dict[str, int], False, False, False, True),
        (Any, False, False, False, True),
        (torch.Tensor | None, False, False, True, False),
        (Callable[[int], int], False, False, False, False),
        (Sequence[torch.Tensor], False, False, False, False),
    ],
)
def test_kinds_of_types(hint, text, texts, none, plain_):
    """What of a signature is text, lists of text, may be None, and can be said in words at all."""
    assert (is_text(hint), is_texts(hint), optional(hint), is_plain(hint)) == (text, texts, none, plain_)


# ---- options are those of the signatures


@pytest.mark.parametrize("name", SHIPPED)
def test_every_argument_is_a_key(name):
    """Of both verbs, with the defaults of the signatures where the checkpoint says nothing."""
    from genzoo.config import locate

    saved = checkpoint.config_of(name)
    data, model = (locate(saved[part]["_target_"], part) for part in ("data", "model"))
    takes, found = wishes(data, model), sampling(name)
    assert set(takes) == {*in_words_of(data.request), *in_words_of(model.sample)}
    assert set(takes) <= set(found)
    assert {k: found[k] for k in takes} == json.loads(json.dumps({**defaults(takes), **saved["sampling"]}))
    report = scoring(name)
    assert report["sampling"] == {k: found[k] for k in takes}
    assert report["data"] == saved["data"]
    assert report["scoring"].items() >= saved["scoring"].items()


def in_words_of(method: Any) -> set[str]:
    """Keyword-only arguments that are no tensors and no functions."""
    hints = {name: str(hint) for name, hint in keywords(method).items()}
    return {name for name, hint in hints.items() if "Tensor" not in hint and "Callable" not in hint}


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("audio", "length=9"),
        *((name, "guidance=2.0") for name in ("music", "text", "weather")),
        ("video", "project=false"),
    ],
)
def test_options_that_no_yaml_names(name, word):
    """They work by the signature alone."""
    key, _, value = word.partition("=")
    assert key not in checkpoint.config_of(name)["sampling"]
    assert sampling(name, word)[key] == yaml.safe_load(value)
    assert scoring(name, f"sampling.{word}")["sampling"][key] == yaml.safe_load(value)


@pytest.mark.parametrize("plus", ["", "+"])
def test_unknown_options(plus):
    """The one that was probably meant, and all that there are."""
    with pytest.raises(UserError, match=r"^unknown key tempersture, did you mean temperature\?; there are: ") as no:
        sampling("text", f"{plus}tempersture=1")
    names = str(no.value).partition("there are: ")[2].split(", ")
    assert set(names) == set(sampling("text"))
    with pytest.raises(UserError, match=r"^unknown key sampling\.lenth, did you mean .*length\?; there are: .*top_p"):
        scoring("text", f"{plus}sampling.lenth=1")
    with pytest.raises(UserError, match=r"^unknown key scoring\.ngram, did you mean .*ngrams\?; there are: ngrams"):
        scoring("text", f"{plus}scoring.ngram=[2]")


OWN = '''
from __future__ import annotations
from typing import Mapping
from genzoo.contract import Data, GenerativeModel, Request, Scores
class Dances(Data):
    """Dances."""
    scores = "my_dances.DanceScores"
    batch = load_state_dict = prepare = spec = state_dict = sweep = write = None
    def request(self, n: int, *, label: str | None = None, who: str, bare=None) -> Request:
        """label: a dance; who: dances it."""
        return Request(n)
class DanceScores(Scores):
    def metrics(self, samples, split, request, *, beats: int = 4):
        return {}
class Dancer(GenerativeModel):
    loss = None
    def sample(self, n: int, cond: Mapping, noise, *, speed: float = 1.5):
        """speed: of the dance."""
'''


@pytest.fixture
def dances(tmp_path, monkeypatch):
    """A module of the user's own in the working folder, and a checkpoint's configuration that names its classes."""
    (tmp_path / "my_dances.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    monkeypatch.delitem(sys.modules, "my_dances", raising=False)
    yield {"data": {"_target_": "my_dances.Dances"}, "model": {"_target_": "my_dances.Dancer"}, "sampling": {}}
    sys.modules.pop("my_dances", None)
    with contextlib.suppress(ValueError):
        sys.path.remove(str(tmp_path))


def test_a_modality_of_ones_own(dances):
    """Its signatures are read too, where its annotations are text, where there are none, and where a value must be
    given; but only if the user trusts it."""
    words = ["checkpoint=run", "label=1", "who=2", "bare=3"]
    with pytest.raises(
        UserError, match=r"^checkpoint=run: data\._target_=my_dances.Dances .*trust=\[my_dances\]"
    ) as no:
        compose_config("sample", words, saved=dances)
    assert "\n" not in str(no.value)
    assert "my_dances" not in sys.modules
    found = plain(compose_config("sample", [*words, "trust=[my_dances]"], saved=dances))
    assert {k: found[k] for k in ("label", "who", "bare", "speed")} == {
        "label": "1",
        "who": "2",
        "bare": 3,
        "speed": 1.5,
    }
    with pytest.raises(UserError, match=r"^who has no value: give who="):
        compose_config("sample", ["checkpoint=run", "trust=[my_dances]"], saved=dances)
    more = ["sampling.who=2", "trust=[my_dances]"]
    assert compose_config("evaluate", ["checkpoint=run", *more], saved=dances).scoring.beats == 4
    with pytest.raises(UserError, match=r"^scoring\.beats=x: .*integer"):
        compose_config("evaluate", ["checkpoint=run", "scoring.beats=x", *more], saved=dances)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data": {"_target_": "textwrap.TextWrapper"}}, r"^checkpoint=x: data\._target_=textwrap.*trust=\[textwrap\]"),
        ({"data": {"_target_": "genzoo.trainer.Options"}}, r"^checkpoint=x: data\._target_=.* is no Data"),
        ({"model": {"_target_": "genzoo_text.TextData"}}, r"^checkpoint=x: model\._target_=.* is no Generative"),
        ({"data": None}, r"^checkpoint=x: data names no class"),
        ({"sampling": ["prompt"]}, r"sampling is no mapping"),
        ({"sampling": {"top_k": "three"}}, r"^top_k=three: .*integer"),
    ],
)
def test_a_checkpoint_that_says_odd_things(change, says):
    """One line, before its weights are read."""
    with pytest.raises(UserError, match=says) as refusal:
        compose_config("sample", ["checkpoint=x"], saved={**checkpoint.config_of("text"), **change})
    assert "\n" not in str(refusal.value)


def test_own_keys_of_the_verb_come_first():
    """What a checkpoint says of its options changes no key of the verb."""
    saved = checkpoint.config_of("text")
    saved["sampling"] |= {"trust": ["textwrap"], "out": "elsewhere", "n": 2}
    config = compose_config("sample", ["checkpoint=x"], saved=saved)
    assert (config.trust, config.out, config.n) == ([], None, 1)


def test_an_argument_of_the_data_goes_before_one_of_the_model():
    """As `split_options` gives them out."""

    class Mine(Data):
        def request(self, n: int, *, stop: list[str] | None = None, seed: int = 3) -> Request: ...

    class Model(GenerativeModel):
        def sample(self, n: int, cond: Mapping, noise: Any, *, stop: Callable | None = None, start: float = 0.0): ...

    found = wishes(Mine, Model)
    assert list(found) == ["stop", "seed", "start"]
    assert found["stop"].annotation == list[str] | None
    assert in_words({}) == {}


# ---- help


def test_help_lists_the_options(smoke_run, capsys):
    """With type, the checkpoint's default, and the docstring."""
    cli.main(["sample", str(smoke_run), "--help"])
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert ["length", "int", "|", "None", "40"] in lines
    assert ["guidance", "float", "1.0"] in lines
    assert ["prompt", "str", '""'] in lines
    assert "TextData.request: prompt: the text to go on from" in out
    cli.main(["evaluate", f"checkpoint={smoke_run}", "-h"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["sampling.guidance", "float", "1.0"] in lines
    assert any(line[:1] == ["scoring.ngrams"] for line in lines)


def test_help_without_a_checkpoint(capsys, tmp_path, monkeypatch):
    """Help is never a mistake; what it cannot show, it says."""
    monkeypatch.chdir(tmp_path)
    cli.main(["sample", "nowhere", "--help"])
    assert "(the options of runs/nowhere are not known: no checkpoint at runs/nowhere" in capsys.readouterr().out
    cli.main(["sample", "--help"])
    assert "options of" not in capsys.readouterr().out.replace("sampling options of", "")


# ---- argparse


@pytest.fixture
def ran(monkeypatch):
    """What a command calls in place of running: verb, overrides, folder, whether the configuration is only shown."""
    calls: list[tuple[Any, ...]] = []
    for verb in ("train", "sample", "evaluate", "gallery"):
        monkeypatch.setattr(cli, f"run_{verb}", lambda *words, verb=verb: calls.append((verb, *words)))
    monkeypatch.setattr(
        "genzoo.export.export", lambda path, to, *, dtype: calls.append(("export", path, to, dtype)) or []
    )

    def run(*words: str) -> list[tuple[Any, ...]]:
        calls.clear()
        cli.main(list(words))
        return [*calls]

    return run


@pytest.mark.parametrize("way", [["--config-dir", "own"], ["--config-dir=own"]])
@pytest.mark.parametrize("verb", ["train", "sample", "evaluate", "gallery"])
def test_options_of_the_verbs(ran, verb, way, tmp_path, monkeypatch):
    """Both spellings, before, between and behind the words."""
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    first = {"train": "preset=text", "gallery": "models=[text]"}.get(verb, "checkpoint=text")
    for words in ([*way, "text", "n=2"], ["text", *way, "n=2"], ["text", "n=2", *way]):
        ((_, overrides, folder, shown),) = ran(verb, *words)
        assert (set(overrides), folder, shown) == ({first, "n=2"}, "own", False)
    for cfg in (["--cfg", "job"], ["--cfg=job"], ["--cfg=all"], ["--cfg"]):
        ((_, overrides, folder, shown),) = ran(verb, "text", *cfg, "n=2")
        assert (set(overrides), folder, shown) == ({first, "n=2"}, None, True)
    for many in ("-m", "--multirun"):
        assert [{*call[1]} & {"n=2", "n=3"} for call in ran(verb, many, "text", "n=2,3")] == [{"n=2"}, {"n=3"}]


def test_options_of_export(ran):
    """Both spellings, in any order."""
    want = [("export", "text", "F", "float16")]
    assert ran("export", "text", "--to", "F", "--dtype", "float16") == want
    assert ran("export", "--dtype=float16", "--to=F", "text") == want
    assert ran("export", "text", "--to=F") == [("export", "text", "F", "float32")]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("train text --steps 3", "unknown option --steps; see genzoo train --help"),
        ("train text --conf own", "unknown option --conf"),
        ("train text --to F", "unknown option --to"),
        ("sample text --cfg=x", "argument --cfg: invalid choice: 'x'"),
        ("gallery --config-dir", "--config-dir needs a folder"),
        ("evaluate text --config-dir=nowhere", "--config-dir nowhere: there is no such folder"),
        ("export text --to", "--to needs a folder"),
        ("export text --to F --dtype", "--dtype needs a number format"),
        ("export text", "it is genzoo export CHECKPOINT --to FOLDER"),
        ("export a b --to F", "it is genzoo export CHECKPOINT --to FOLDER"),
        ("list --config-dir=nowhere", "--config-dir nowhere"),
        ("list --cfg=job", "unknown option --cfg=job"),
        ("demo --to=F", "unknown option --to=F"),
        ("sample text n=2 more", "'more' is no key=value"),
    ],
)
def test_mistaken_options(refused, words, says):
    """One line, status 2, no usage."""
    message = refused(*words.split())
    assert says in message
    assert "usage" not in message


@pytest.mark.parametrize("word", ["hydra.run.dir=x", "+hydra.sweep.dir=x", "hydra/launcher=basic", "hydra.job.name=a"])
@pytest.mark.parametrize("verb", ["train", "sample", "evaluate", "gallery"])
def test_hydras_own_keys(refused, verb, word):
    """Refused with what to say instead: they would have no effect."""
    message = refused(verb, {"train": "text", "gallery": "n=1"}.get(verb, "checkpoint=text"), word)
    assert f"{word} would have no effect" in message
    assert "out=" in message


# ---- paths


@pytest.mark.parametrize("verb", ["sample", "evaluate"])
def test_a_path_with_an_equals_sign(ran, verb, tmp_path, monkeypatch):
    """The first word is a path if it is there, or if a / comes before its first =."""
    monkeypatch.chdir(tmp_path)
    Path("a=b").mkdir()
    for path in ("runs/a=b", "./n=2", "a=b", "hf://a/b=c"):
        assert ran(verb, path, "n=1")[0][1] == ["n=1", f"checkpoint={path}"]
    assert ran(verb, "checkpoint=runs/a=b")[0][1] == ["checkpoint=runs/a=b"]
    assert ran(verb, "n=2")[0][1] == ["n=2", "checkpoint=text"]
    assert ran(verb, f"prompt={'long ' * 200}")[0][1][1] == "checkpoint=text"


def test_a_run_with_an_equals_sign(smoke_run, tmp_path, monkeypatch, capsys):
    """By both ways to name it."""
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("runs/a=b").symlink_to(smoke_run)
    for word in ("runs/a=b", "checkpoint=runs/a=b"):
        cli.main(["sample", word, "--cfg", "job"])
        assert yaml.safe_load(capsys.readouterr().out)["checkpoint"] == "runs/a=b"
    cli.main(["sample", "runs/a=b", "length=5", "out=made"])
    assert len(Path("made/000.txt").read_text()) == 5


# ---- sweeps


def test_sweeps_of_texts():
    """Each value becomes a word of its own, as it would be typed; quotes keep a comma together."""
    assert sweep(["prompt=a b,c"]) == [["prompt=a b"], ["prompt=c"]]
    assert sweep(["prompt='a, b ','c'"]) == [["prompt=a, b "], ["prompt=c"]]
    assert sweep(["prompt='a, b'", "n=1,2"]) == [["prompt=a, b", "n=1"], ["prompt=a, b", "n=2"]]
    assert sweep(["stop=[a],[b]", "x=true,null"])[0] == ["stop=[a]", "x=true"]
    assert sweep(["label=07, 1e3"]) == [["label=07"], ["label=1e3"]]
    assert as_typed("prompt", "a, b", str) == "a, b"


# ---- the module


def test_python_m_genzoo(monkeypatch, capsys):
    """`python -m genzoo` is the command."""
    monkeypatch.setattr(sys, "argv", ["genzoo", "--version"])
    runpy.run_module("genzoo", run_name="__main__")
    assert capsys.readouterr().out.strip()
    done = subprocess.run([sys.executable, "-m", "genzoo", "trian"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("genzoo: there is no verb 'trian'")


def test_help_costs_little():
    """At most 0.3 s of a processor: neither torch nor hydra is imported."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "genzoo", "--help"], capture_output=True, check=True, env={**os.environ})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3
