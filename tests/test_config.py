"""Configurations: every shipped one composes and is explained, and mistakes in one are named."""

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open

import genzoo
from genzoo import checkpoint, sealed
from genzoo.config import (
    build,
    check,
    check_type,
    compose_config,
    config_folder,
    flat,
    keywords,
    locate,
    plain,
    present_name,
    present_names,
    presets,
    scores_of,
    sweep,
)
from genzoo.contract import Data, GenerativeModel, Objective, Spec
from genzoo.errors import UserError
from genzoo.model import build_model
from genzoo.run import Logger
from genzoo.trainer import Options

DATA = "genzoo_text.TextData"
PRESETS = sorted(file.stem for file in (config_folder() / "preset").glob("*.yaml"))
COMMENTED = [file for file in sorted(config_folder().rglob("*.yaml")) if file.parent.name not in ("preset", "local")]


# ---- what is shipped


@pytest.mark.parametrize("name", PRESETS)
def test_preset_composes(name):
    """Every shipped preset gives a whole configuration whose every value has its target's type."""
    config = plain(compose_config("train", [f"preset={name}"]))
    assert config["out"] == f"runs/{name}"
    for node in ("data", "model", "objective", "trainer"):
        assert "_target_" in config[node]
        check(config[node], node)
    data = build(config["data"], Data, "data")  # opens no file
    build(config["trainer"], Options, "trainer")
    model = locate(config["model"]["_target_"], "model")
    wishes = {**keywords(model.sample), **keywords(data.request)}
    scores = {**keywords(scores_of(data).metrics), **keywords(scores_of(data).conditional_metrics)}
    for node, known in (("sampling", wishes), ("scoring", scores)):
        for key, value in config[node].items():
            assert key in known, f"{node}.{key} is no option of {name}"
            check_type(value, known[key], f"{node}.{key}")


def test_there_are_presets():
    """The default, and a fast one to test with."""
    assert {"text", "text_smoke"} <= set(PRESETS)
    assert presets() == PRESETS


@pytest.mark.parametrize("name", sorted(f.stem for f in (config_folder() / "logger").glob("*.yaml")))
def test_loggers_compose(name):
    """Every logger can be chosen, and its keys are arguments of its class."""
    config = plain(compose_config("train", [f"logger={name}", "out=runs/x"]))
    check(config["logger"], "logger")
    assert name == "none" or issubclass(locate(config["logger"]["_target_"], "logger"), Logger)


@pytest.mark.parametrize("file", COMMENTED, ids=lambda file: str(file.relative_to(config_folder())))
def test_every_key_is_explained(file):
    """Each key has a comment, on its line or on the line above; hydra's own words (_target_ …) need none."""
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# "), "the first line says what the file is for"
    bare = []
    for above, line in zip(["", *lines], lines, strict=False):
        key = re.match(r"\s*(?:- )?([A-Za-z][\w ]*):(\s|$)", line)
        if key and " #" not in line and not above.lstrip().startswith("#"):
            bare.append(key[1])
    assert not bare, f"{file.name} does not explain {', '.join(bare)}"


@pytest.mark.parametrize("name", PRESETS)
def test_preset_says_what_it_is(name):
    """The first line puts its keys at the top, the second is what `genzoo list` shows."""
    first, second, *_ = (config_folder() / "preset" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert first == "# @package _global_"
    assert second.startswith("# ")
    assert len(second) > 20


def test_the_context_is_given_once():
    """The network takes its context from the data."""
    assert compose_config("train", ["preset=text_smoke", "data.context=48"]).model.net.context == 48


def test_order_of_precedence():
    """Group defaults < preset < command line."""
    default = yaml.safe_load((config_folder() / "trainer" / "default.yaml").read_text(encoding="utf-8"))
    preset = yaml.safe_load((config_folder() / "preset" / "text_smoke.yaml").read_text(encoding="utf-8"))
    assert default["steps"] != preset["trainer"]["steps"]
    assert compose_config("train", ["preset=text_smoke"]).trainer.steps == preset["trainer"]["steps"]
    assert compose_config("train", ["trainer.steps=7", "preset=text_smoke"]).trainer.steps == 7


@pytest.mark.parametrize("name", [name for name in PRESETS if name.endswith("_smoke")])
def test_smoke_preset_works_from_end_to_end(name, smoke_run_of, tmp_path):
    """It trains, samples and evaluates, and leaves what the design says a run folder holds."""
    run = shutil.copytree(smoke_run_of(name.removesuffix("_smoke")), tmp_path / "run", symlinks=True)
    for part in ("config.yaml", "log.csv", "metrics.json", "checkpoints/last", "checkpoints/best"):
        assert (run / part).exists(), f"{part} is missing"
    assert any(file.is_file() for file in (run / "samples").rglob("*"))

    trained = genzoo.load(run)
    samples = trained.sample(2, seed=1)
    assert len(samples) == 2
    files = samples.write(tmp_path / "samples")
    assert len(files) >= 2
    assert all(file.stat().st_size for file in files)

    report = genzoo.evaluate(run, ["n=2"])
    numbers = [value for key, value in flat(report) if not key.startswith("protocol.") and isinstance(value, float)]
    assert numbers
    assert all(map(math.isfinite, numbers))
    assert len(report["protocol"]["reference_sha256"]) == 64
    split = "test" if report["protocol"]["data"].get("path") == "chorales" else "val"
    assert (report["protocol"]["n"], report["protocol"]["split"]) == (2, split)
    assert report["protocol"]["sampling"].items() >= trained.config["sampling"].items()
    assert json.loads((run / "metrics.json").read_text())[f"evaluate_{split}"] == json.loads(json.dumps(report))


def test_smoke_text_has_learned(run_copy):
    """Twenty steps are enough to be better than a guess at each character."""
    report = genzoo.evaluate(run_copy, ["n=0"])
    vocabulary = genzoo.load(run_copy).data.spec.vocab
    assert report["nats_per_character"] < math.log(vocabulary)
    assert report["bits_per_character"] == pytest.approx(report["nats_per_character"] / math.log(2))


# ---- mistakes


@pytest.mark.parametrize(
    ("overrides", "key", "near"),
    [
        (["trainer.stpes=10"], "trainer.stpes", "trainer.steps"),
        (["data.contxt=5"], "data.contxt", "data.context"),
        (["model.net.dpeth=3"], "model.net.dpeth", "model.net.depth"),
        (["smaples=1"], "smaples", "samples"),
        (["trainr.steps=1"], "trainr.steps", "trainer.steps"),
        (["steps=5"], "steps", "trainer.steps"),
        (["sampling.temprature=1"], "sampling.temprature", "sampling.temperature"),
        (["objective=adversarial", "objective.penatly=1"], "objective.penatly", "objective.penalty"),
        (["trainer.lr.x=1"], "trainer.lr.x", "trainer.lr"),
    ],
)
def test_unknown_keys(overrides, key, near):
    """The key and the one that was probably meant are in one line."""
    with pytest.raises(UserError) as refusal:
        compose_config("train", ["preset=text_smoke", *overrides])
    message = str(refusal.value)
    assert message.startswith(f"unknown key {key}, did you mean {near}?")
    assert "\n" not in message


def test_keys_of_an_empty_mapping():
    """They are anybody's: the line says how hydra wants them written, and so written they are there."""
    words = ["preset=text_smoke", "objective=adversarial", "objective.sampler.steps=2"]
    with pytest.raises(UserError, match=r"^objective\.sampler has no keys yet: write \+objective\.sampler\.steps=…$"):
        compose_config("train", words)
    with pytest.raises(UserError, match=r"^objective\.sampler has no keys yet: write \+objective\.sampler=…$"):
        compose_config("train", [*words[:2], "objective.sampler={steps: 2}"])
    for word in (f"+{words[2]}", "+objective.sampler={steps: 2}"):
        assert plain(compose_config("train", [*words[:2], word]))["objective"]["sampler"] == {"steps": 2}


def refuse_anywhere(overrides: list[str], **options: object) -> str:
    """The message with which composing or checking a training configuration fails."""

    def compose_and_check() -> None:
        config = plain(compose_config("train", ["preset=text_smoke", *overrides], **options))
        for node in ("trainer", "data", "model", "objective"):
            check(config[node], node)

    with pytest.raises(UserError) as refusal:
        compose_and_check()
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize("added", ["+trainer.foo=1", "+data.foo=1", "+model.net.foo=1", "+foo=1", "+foo.bar=1"])
def test_added_keys(added):
    """Hydra's + adds a key to a configuration; one that nobody reads is refused all the same."""
    assert "foo" in refuse_anywhere([added])


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("trainer.steps=many", r"trainer\.steps=many: .*integer"),
        ("trainer.steps=1.5", r"trainer\.steps=1\.5: .*integer"),
        ("trainer.lr=fast", r"trainer\.lr=fast: .*number"),
        ("trainer.compile=perhaps", r"trainer\.compile=perhaps: .*bool"),
        ("data.context=long", r"data\.context=long: .*integer"),
        ("data.tokenizer=chr", r"data\.tokenizer=chr: .*'char', 'byte' or 'bpe'"),
        ("data.column=[a]", r"data\.column=\['a'\]: .*string"),
        ("data.stride=often", r"data\.stride=often: .*integer"),
        ("model.net.dim=null", r"model\.net\.dim=None: .*integer"),
        ("model.net.heads=[1]", r"model\.net\.heads=\[1\]: .*integer"),
        ("model.label_dropout=some", r"model\.label_dropout=some: .*number"),
    ],
)
def test_wrong_types(override, says):
    """Key, value and the type that is wanted."""
    assert re.match(says, refuse_anywhere([override]))


@pytest.mark.parametrize("override", ["trainer.lr=1", "data.stride=null", "trainer.compile=true", "data.path=x"])
def test_right_types(override):
    """An integer passes as a number, null where the argument may be None."""
    config = plain(compose_config("train", ["preset=text_smoke", override]))
    for node in ("trainer", "data"):
        check(config[node], node)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("preset=text_smok", "did you mean text_smoke?"),
        ("data=texx", "did you mean text?"),
        ("logger=tensorbord", "did you mean tensorboard?"),
        ("model=transformers", "did you mean transformer?"),
    ],
)
def test_missing_choices(override, says):
    """What is not there, what was probably meant, and what there is."""
    message = refuse_anywhere([override])
    group, _, name = override.partition("=")
    assert f"{group} {name!r}" in message
    assert says in message
    assert "there are: " in message


@pytest.mark.parametrize("override", ["trainer=null", "data=null", "=3", "trainer.steps=[1", "data.seed=${nowhere}"])
def test_odd_overrides(override):
    """What hydra cannot read is one line, not a traceback."""
    assert refuse_anywhere([override])


VALUES = [
    "Hello, world!",
    "plain words",
    "日本 😀",
    'it\'s (a) "test"',
    "C:\\texts\\a.txt",
    "line\nline",
    "a=b",
    "[1] #2 {3}",
    "~/texts",
    "The ",
    "a ${z} ${oc.env:HOME}",
]


@pytest.mark.parametrize("value", VALUES, ids=ascii)
def test_any_text_is_a_value(value):
    """A person's prompt or file name is not a programming language: key=VALUE takes any text as it is."""
    assert compose_config("train", ["preset=text_smoke", f"data.path={value}"]).data.path == value
    config = compose_config("sample", ["checkpoint=x", f"melody={value}"], saved=checkpoint.config_of("music"))
    assert config.melody == value


def test_values_keep_their_types():
    """Text as it is does not mean that numbers, lists and null become text."""
    words = ["checkpoint=x", "temperature=0.5", 'stop=[".", "a, b"]', "top_k=3", "prompt='null'", "n=2"]
    config = plain(compose_config("sample", words, saved=checkpoint.config_of("text")))
    assert config["temperature"] == 0.5
    assert config["stop"] == [".", "a, b"]
    assert config["top_k"] == 3
    assert config["prompt"] == "'null'"
    assert config["n"] == 2


def test_options_of_the_last_checkpoint_only():
    """What one checkpoint added to the keys does not stay for the next one."""
    assert "stop" in compose_config("sample", ["checkpoint=x"], saved=checkpoint.config_of("text"))
    config = compose_config("sample", ["checkpoint=x", "label=3"], saved=checkpoint.config_of("video"))
    assert config.label == "3"
    assert "stop" not in config


def test_missing_value():
    """A key that must be given is named with the way to give it."""
    with pytest.raises(UserError, match=r"checkpoint has no value: give checkpoint="):
        compose_config("sample", [], saved=checkpoint.config_of("text"))


# ---- a user's own presets


@pytest.fixture
def own(tmp_path):
    """Writes a preset of the user's own; returns the folder for --config-dir."""

    def write(text: str, name: str = "mine", folder: str = "own"):
        file = tmp_path / folder / "preset" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return str(tmp_path / folder)

    return write


@pytest.mark.parametrize("folder", ["own", "my presets", "presets (new), 2"])
def test_own_preset(own, folder):
    """A preset in the user's folder works as a shipped one, wherever the folder lies; shipped ones stay."""
    path = own("# @package _global_\n# mine\ndata:\n  context: 48\n", folder=folder)
    assert compose_config("train", ["preset=mine"], config_dir=path).data.context == 48
    assert compose_config("train", ["preset=mine"], config_dir=path).out == "runs/mine"
    assert compose_config("train", ["preset=text_smoke"], config_dir=path).data.context == 32
    assert presets(path) == sorted([*PRESETS, "mine"])


def test_own_preset_is_gone_without_its_folder(own):
    """Nothing of an earlier call stays behind."""
    compose_config("train", ["preset=mine"], config_dir=own("# @package _global_\nsamples: 1\n"))
    with pytest.raises(UserError, match="mine"):
        compose_config("train", ["preset=mine"])


@pytest.mark.parametrize("body", ["data:\n  contxt: 48\n", "trainr:\n  steps: 5\n", "model:\n  net: {dmi: 3}\n"])
def test_misspelt_key_in_an_own_preset(own, body):
    """A key that nobody reads is refused, not ignored."""
    message = refuse_anywhere(["preset=mine"], config_dir=own(f"# @package _global_\n{body}"))
    assert any(word in message for word in ("contxt", "trainr", "dmi"))


def test_own_preset_without_its_first_line(own):
    """Without `# @package _global_` hydra would put the keys where nobody reads them: that is said."""
    message = refuse_anywhere(["preset=mine"], config_dir=own("data:\n  context: 48\n"))
    assert "@package" in message or "preset.data" in message


def test_own_preset_that_is_no_yaml(own):
    """The file is named."""
    assert "mine" in refuse_anywhere(["preset=mine"], config_dir=own("# @package _global_\na: [1\n b: :\n"))


def test_misspelt_own_preset(own):
    """The user's own names are among those suggested."""
    message = refuse_anywhere(["preset=mien"], config_dir=own("# @package _global_\nsamples: 1\n"))
    assert "did you mean mine?" in message


# ---- sweeps


def test_sweep():
    """All combinations, in order; the last key changes fastest."""
    assert sweep(["preset=text_smoke", "a=1,2", "b=x,y"]) == [
        ["preset=text_smoke", "a=1", "b=x"],
        ["preset=text_smoke", "a=1", "b=y"],
        ["preset=text_smoke", "a=2", "b=x"],
        ["preset=text_smoke", "a=2", "b=y"],
    ]
    assert sweep(["a=range(3)"]) == [["a=0"], ["a=1"], ["a=2"]]
    assert sweep(["a=1", "b=[1,2]", "c='x,y'"]) == [["a=1", "b=[1,2]", "c=x,y"]]
    assert sweep(["a='x, y',b c"]) == [["a=x, y"], ["a=b c"]]
    assert sweep([]) == [[]]


def test_sweep_mistakes():
    """What cannot be read is refused in one line."""
    with pytest.raises(UserError) as refusal:
        sweep(["a=[1"])
    assert "\n" not in str(refusal.value)


# ---- what a configuration may build


def test_build():
    """Arguments come from the node, further ones in front; nested nodes are built too."""
    data = build({"_target_": DATA, "context": 24, "tokenizer": "byte"}, Data, "data")
    assert (type(data).__name__, data.context, data.kind) == ("TextData", 24, "byte")
    net = {
        "_target_": "attention_core.TokenTransformer",
        "_partial_": True,
        "dim": 32,
        "depth": 1,
        "heads": 1,
        "context": 8,
    }
    node = {"_target_": "genzoo.families.Autoregressive", "_partial_": True, "net": net}
    model = build(node, GenerativeModel, "model", Spec((3,), vocab=5))
    assert (model.spec.vocab, type(model.net).__name__) == (5, "TokenTransformer")


@pytest.mark.parametrize(
    ("node", "role"),
    [
        ({"_target_": DATA}, GenerativeModel),
        ({"_target_": "genzoo.objectives.Native"}, Data),
        ({"_target_": "genzoo.run.CsvLog", "path": "x"}, Logger),
        ({"_target_": "genzoo_text.rewards.rhyme"}, Data),
        ({"_target_": "genzoo_text.rewards.texts"}, Objective),
        ({"_target_": "genzoo_text.TextData.prepare"}, Data),
        ({"_target_": "genzoo.contract.Data"}, GenerativeModel),
    ],
    ids=lambda value: value["_target_"] if isinstance(value, dict) else value.__name__,
)
def test_a_part_has_a_role(node, role):
    """A part of another role, and a class or function that is no part at all, is refused where it is named."""
    with pytest.raises(UserError, match=r"x\._target_=.* is no "):
        build(node, role, "x")


@pytest.mark.parametrize("node", [None, [], 5, "genzoo_text.TextData", {}, {"context": 3}], ids=str)
def test_a_node_without_a_class_is_refused(node):
    with pytest.raises(UserError, match="data names no class"):
        build(node, Data, "data")


def test_build_says_where_a_value_was_refused():
    """A ValueError of a constructor becomes a UserError that begins with the node's name."""
    with pytest.raises(UserError, match=r"^objective: weights for penalties that are not there: x"):
        build({"_target_": "genzoo.objectives.Native", "weights": {"x": 1.0}}, Objective, "objective")
    with pytest.raises(UserError, match=r"^data\.context must be at least 2"):
        build({"_target_": DATA, "context": 1}, Data, "data")


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "textwrap.TextWrapper",
        "torch.nn.Linear",
        "genzoo.checkpoint.os.remove",
        "genzoo.checkpoint.shutil.rmtree",
        "genzoo.contract.Path",
        "genzoo.contract.nn.Module",
        "genzoo_text.data.hashlib.sha256",
        "genzoo.families.Autoregressive.__init__.__globals__.get",
        "genzoo.checkpoint.FORMAT",
        "genzoo_text.data",
        "genzoo",
        "genzoo_text.data.Nothing",
        "genzoo_text.nowhere.Nothing",
        "",
        None,
        5,
    ],
    ids=str,
)
def test_foreign_targets_are_refused(target):
    """Only what genzoo's own packages define can be built, also where another module can be reached through them."""
    with pytest.raises(UserError, match=r"data\._target_=") as refusal:
        build({"_target_": target}, Data, "data")
    assert "\n" not in str(refusal.value)


FOREIGN = {"_target_": "textwrap.TextWrapper"}


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": DATA, "path": FOREIGN},
        {"_target_": DATA, "path": [[FOREIGN]]},
        {"_target_": DATA, "_args_": [FOREIGN]},
        {"_target_": DATA, "_extra": FOREIGN},
        {"_target_": DATA, "_partial_": True, "_extra": FOREIGN},
        {"_target_": DATA, "path": {"anything": {"at": [{"any": FOREIGN}]}}},
        {"_target_": DATA, "path": [FOREIGN]},
    ],
    ids=str,
)
def test_hidden_foreign_targets_are_refused(node):
    """At any depth, and under hydra's own words too."""
    with pytest.raises(UserError, match=r"textwrap\.TextWrapper|_args_|_extra"):
        build(node, Data, "data")


@pytest.mark.parametrize("text", ["${oc.create:{_target_: textwrap.TextWrapper}}", "${oc.env:HOME}"])
def test_a_value_is_no_program(text):
    """What was resolved once is plain: a saved value that looks like an interpolation is refused or stays as it is."""
    try:
        made = build({"_target_": DATA, "path": text}, Data, "data")
    except UserError:
        return
    assert made.path == text


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "genzoo.cli.main", "argv": ["--version"]},
        {"_target_": "genzoo.api.train", "preset": "nowhere"},
        {"_target_": "genzoo.config.locate", "name": "textwrap.TextWrapper", "where": "", "trust": ["textwrap"]},
        {"_target_": "genzoo.download.download", "url": "file:///nowhere", "sha256": "0", "name": "../x"},
    ],
    ids=lambda node: node["_target_"],
)
def test_the_verbs_are_no_parts(node, tmp_path, monkeypatch):
    """A configuration builds parts of a model. Our own commands (train with trust, download to a path) are none: a
    stranger's checkpoint could do with them what it pleases."""
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=re.escape(node["_target_"])):
        build(node, Data, "data")


def test_trust(tmp_path, monkeypatch):
    """The user's own package can be named once it is trusted, and the message says how."""
    (tmp_path / "my_layers.py").write_text(
        "class Mine:\n    def __init__(self, *, width: int = 3):\n        self.width = width\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    node = {"_target_": "my_layers.Mine", "width": 5}
    with pytest.raises(UserError, match=r"trust=\[my_layers\]"):
        build(node, object, "model")
    assert build(node, object, "model", trust=["my_layers"]).width == 5
    with pytest.raises(UserError, match=r"model\.width=wide"):
        build({**node, "width": "wide"}, object, "model", trust=["my_layers"])
    with pytest.raises(UserError, match="not part of genzoo"):
        build(node, object, "model", trust=["layers"])


def test_a_checkpoint_cannot_trust_itself(smoke_run, tmp_path):
    """What a checkpoint says of its own sampling options cannot widen what it may build."""
    from genzoo.sample import sample_config, sampling_config

    source = checkpoint.resolve(smoke_run / "checkpoints" / "last")
    with safe_open(source, framework="pt") as opened:
        metadata = opened.metadata()
        weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    config = json.loads(metadata["config"])
    config["data"] = FOREIGN
    config["sampling"] |= {"trust": ["textwrap"], "out": str(tmp_path / "elsewhere"), "n": 2}
    (tmp_path / "model.safetensors").write_bytes(sealed.seal(weights, {**metadata, "config": json.dumps(config)}))
    with pytest.raises(UserError, match="textwrap"):
        sample_config(sampling_config([f"checkpoint={tmp_path / 'model.safetensors'}"]))


def test_a_library_that_is_missing(monkeypatch):
    """A modality whose own library is not installed names the extra."""
    import sys

    monkeypatch.delitem(sys.modules, "genzoo_text.data")
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(UserError, match=r"numpy is not installed.*pip install 'genzoo\[text\]'"):
        locate(DATA, "data")


def test_config_of_a_run_is_the_composed_one(smoke_run):
    """config.yaml, the metadata of the weights and the command line agree, with nothing left to resolve."""
    shown = plain(compose_config("train", ["preset=text_smoke", f"out={smoke_run}"]))
    assert yaml.safe_load((smoke_run / "config.yaml").read_text(encoding="utf-8")) == shown
    assert genzoo.load(smoke_run).config == shown


def test_configs_are_found_from_anywhere(tmp_path, monkeypatch):
    """The folder does not depend on where the command is run; a configs/ of the user's is not mistaken for ours."""
    ours = config_folder()
    (tmp_path / "configs").mkdir()
    shutil.copy(ours / "train.yaml", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    assert config_folder() == ours
    assert compose_config("train", ["preset=text_smoke"]).data.context == 32


def test_first_weights_depend_on_the_seed_alone():
    """Building the model twice gives the same weights, whatever was drawn before; another seed gives others."""
    from genzoo.contract import Spec

    def weights(seed: int) -> torch.Tensor:
        config = plain(compose_config("train", ["preset=text_smoke", f"trainer.seed={seed}"]))
        made = build_model(config, Spec((32,), vocab=50))
        return torch.cat([p.flatten() for p in made.parameters()])

    first = weights(0)
    torch.rand(5)
    state = torch.get_rng_state()
    assert torch.equal(weights(0), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(weights(1), first)


OLD = json.loads((Path(__file__).parent / "old_names.json").read_text())


@pytest.mark.parametrize("name", OLD)
def test_old_names(name):
    """What was saved before a file was moved builds the same part, and a run saved with it resumes: the names become
    those of today."""
    now = present_name(name)
    assert locate(name, "x") is locate(now, "x")
    assert present_name(now) == now
    saved = {"data": {"_target_": name, "_partial_": True}, "list": [{"_target_": name}], "path": name}
    assert present_names(saved) == {
        "data": {"_target_": now, "_partial_": True},
        "list": [{"_target_": now}],
        "path": name,
    }


def test_parts_are_named_as_they_are_exported():
    """No configuration that comes with genzoo names the file that a class is in."""
    for file in sorted(config_folder().rglob("*.yaml")):
        for name in re.findall(r"_target_: ([\w.]+)", file.read_text()):
            assert present_name(name) == name, file
