"""A checkpoint is read as it was written, or refused in one line that names the file."""

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

import genzoo
from genzoo import checkpoint, sealed
from genzoo.errors import UserError

FLIPS, CUTS = 300, 130
NESTED = "[" * 100_000


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a few thousand bytes, of a real run. Shared: write only to copies."""
    out = tmp_path_factory.mktemp("integrity") / "run"
    return checkpoint.resolve(genzoo.train("born_smoke", [f"out={out}", "trainer.steps=2", "samples=0"])).parent


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    return shutil.copytree(small, tmp_path / "checkpoint")


def refused(file: Path, read: Callable[[Path], object]) -> str:
    """Why a file is not read: one line that names it."""
    with pytest.raises(UserError) as refusal:
        read(file.parent)
    line = str(refusal.value)
    assert str(file) in line
    assert "\n" not in line
    return line


def header_of(content: bytes) -> int:
    """Bytes of a safetensors file before its tensors."""
    return 8 + int.from_bytes(content[:8], "little")


@pytest.mark.parametrize("part", ["weights", "header", "state.pt"])
def test_a_flipped_bit_is_seen_wherever_it_is(copy, part):
    """Each of 300 is named, none is loaded; and the file as it was is."""
    file, read = copy / "model.safetensors", genzoo.load
    if part == "state.pt":
        file, read = copy / "state.pt", checkpoint.load_train_state
    content = file.read_bytes()
    places = {"weights": range(header_of(content), len(content)), "header": range(header_of(content))}
    draw, places = random.Random(part), places.get(part, range(len(content)))
    for bit in draw.sample(range(8 * places.start, 8 * places.stop), FLIPS):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        refused(file, read)
    file.write_bytes(content)
    read(copy)


@pytest.mark.parametrize("part", ["model.safetensors", "state.pt"])
def test_a_file_cut_or_lengthened_anywhere_is_seen(copy, part):
    file = copy / part
    read, content = genzoo.load if part == "model.safetensors" else checkpoint.load_train_state, file.read_bytes()
    lengths = [0, 1, 8, *random.Random(part).sample(range(9, len(content) - 1), CUTS // 2 - 4), len(content) - 1]
    for length in lengths:
        file.write_bytes(content[:length])
        refused(file, read)
    file.write_bytes(content + b"\0")
    refused(file, read)


def rewritten(
    file: Path, change: Callable[[dict[str, str], dict[str, torch.Tensor]], object], *, hashed: bool = True
) -> None:
    """A file with other metadata and tensors, and a hash that is right; or with none."""
    with safe_open(file, framework="pt") as opened:
        metadata, tensors = opened.metadata(), {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    del metadata["sha256"]
    change(metadata, tensors)
    file.write_bytes(sealed.seal(tensors, metadata) if hashed else save(tensors, metadata))


@pytest.mark.parametrize("value", ["[]", "{}", "null", NESTED, '{"a":' * 50_000, "1" * 5000, '"\\ud800"', "1e999", ""])
@pytest.mark.parametrize("key", ["config", "spec", "data_state", "data_sha256", "step"])
def test_metadata_of_anybody_is_one_line(copy, key, value):
    """Sealed properly, so that no hash helps."""
    rewritten(copy / "model.safetensors", lambda metadata, _: metadata.update({key: value}))
    if (key, value) in {("data_sha256", "{}"), ("data_sha256", "[]"), ("step", "1" * 5000)}:
        return  # it may well be so
    refused(copy / "model.safetensors", genzoo.load)


@pytest.mark.parametrize("key", ["config", "spec", "data_state", "step", "format"])
def test_metadata_that_is_missing_is_one_line(copy, key):
    rewritten(copy / "model.safetensors", lambda metadata, _: metadata.pop(key))
    refused(copy / "model.safetensors", genzoo.load)


@pytest.mark.parametrize("whole", [b"[]", b"{}", b"null", NESTED.encode(), b'{"__metadata__":[]}', b"\xff"])
def test_a_header_of_anybody_is_one_line(copy, whole):
    """What stands in place of the JSON of the header."""
    file = copy / "model.safetensors"
    file.write_bytes(len(whole).to_bytes(8, "little") + whole)
    refused(file, genzoo.load)


def renamed(_, tensors):
    name = min(tensors)
    tensors["of\nsomebody\x1b[2J"] = tensors.pop(name)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(copy, number):
    rewritten(copy / "model.safetensors", lambda _, tensors: tensors[min(tensors)].view(-1)[:1].fill_(number))
    assert "NaN or infinity" in refused(copy / "model.safetensors", genzoo.load)


@pytest.mark.parametrize(
    "change", [renamed, lambda _, tensors: tensors.clear(), lambda _, tensors: tensors.update(more=torch.ones(2))]
)
def test_other_tensors_are_refused(copy, change):
    """Renamed, missing, or more of them than the model has."""
    rewritten(copy / "model.safetensors", change)
    assert "\x1b" not in refused(copy / "model.safetensors", genzoo.load)


def test_the_format_before_is_read_and_said(copy, capsys):
    """It bears no hash."""
    file = copy / "model.safetensors"
    now = genzoo.load(copy).model.state_dict()
    assert not capsys.readouterr().err
    rewritten(file, lambda metadata, _: metadata.update(format="1"), hashed=False)
    before = genzoo.load(copy).model.state_dict()
    assert all(torch.equal(before[name], value) for name, value in now.items())
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(file) in said
    assert "no hash" in said


@pytest.mark.parametrize(("number", "hashed"), [("2", False), ("1", True), ("3", True), ("", True)])
def test_a_format_and_a_hash_that_do_not_go_together_are_refused(copy, number, hashed):
    file = copy / "model.safetensors"
    rewritten(file, lambda metadata, _: metadata.update(format=number), hashed=hashed)
    refused(file, genzoo.load)


def test_sha256sum_agrees(small):
    """sha256.txt names every file beside it but the weights, which bear their own, as coreutils read it."""
    sums = (small / "sha256.txt").read_text().splitlines()
    assert {line.split("  ")[1] for line in sums} == {"state.pt", "config.yaml", "data.json"}
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "sha256.txt"], cwd=small, check=True)


def test_state_without_its_hash_is_refused(copy):
    """Only in a checkpoint of the format before may sha256.txt be missing."""
    (copy / "sha256.txt").unlink()
    refused(copy / "state.pt", checkpoint.load_train_state)
    rewritten(copy / "model.safetensors", lambda metadata, _: metadata.update(format="1"), hashed=False)
    assert checkpoint.load_train_state(copy)["step"] == 2


def test_a_damaged_file_is_one_line_of_each_verb(copy):
    """Whatever the flip makes of the configuration, which is read first: the file is named, not a key of it."""
    from genzoo.evaluation import evaluation_config
    from genzoo.sample import sample_config, sampling_config

    file = copy / "model.safetensors"
    content = file.read_bytes()
    draw, config = random.Random(0), content.index(json.dumps("sampling")[1:-1].encode())
    for _ in range(40):
        changed = bytearray(content)
        changed[config + draw.randrange(200)] ^= 1 << draw.randrange(7)
        file.write_bytes(changed)
        refused(file, lambda folder: sample_config(sampling_config([f"checkpoint={folder}"])))
        refused(file, lambda folder: evaluation_config([f"checkpoint={folder}"]))
