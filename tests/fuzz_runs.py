"""Seeds of checkpoints, runs, presets and cards, and what reads them; see `fuzz_formats`."""

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from genzoo import checkpoint
from genzoo.config import compose_config, config_folder
from genzoo.errors import UserError

ZQ = "zq"
TEXT = "The quick brown fox jumps over the lazy dog, and the dog sleeps on.\n" * 6


@cache
def trained() -> dict[str, bytes]:
    """The files of a run of two steps, a checkpoint each, and of the text that it learned from."""
    import genzoo

    tiny = ("model.net.dim=8", "model.net.depth=1", "model.net.heads=1", "data.context=8", "trainer.batch_size=2")
    steps = ("steps=2", "save_every=1", "val_every=1", "val_batches=1", "warmup=0")
    words = ("out=run", "data.path=text.txt", "data.tokenizer=bpe", "data.vocab_size=258", "sampling.length=4")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("text.txt").write_text(TEXT)
        genzoo.train("text_smoke", [*words, *tiny, "samples=0", *(f"trainer.{step}" for step in steps)])
        return {str(file): file.read_bytes() for file in Path().rglob("[!.]*") if file.is_file()}


def run(folder: Path) -> None:
    for name, content in trained().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def resume(folder: Path) -> None:
    import genzoo

    with contextlib.chdir(folder):
        genzoo.train("text_smoke", ["out=run", "resume=true", "trainer.steps=3"])


def resume_resealed(folder: Path) -> None:
    """As if who wrote the damage had written the hashes too."""
    for sums in folder.glob("run/checkpoints/*/sha256.txt"):
        reseal(sums.with_name("model.safetensors"))
        files = [file for file in sums.parent.iterdir() if file.is_file() and file != sums]
        if sums.is_dir():
            continue
        sums.write_text("".join(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in files))
    resume(folder)


def reseal(file: Path) -> None:
    """Its own hash in a file that has a place for it."""
    from genzoo import sealed

    content = bytearray(file.read_bytes() if file.is_file() else b"")
    place = content.find(sealed.KEY) + len(sealed.KEY)
    if place >= len(sealed.KEY):
        content[place : place + 64] = sealed.ZEROS
        content[place : place + 64] = hashlib.sha256(content).hexdigest().encode()
        file.write_bytes(content)


def weights(folder: Path, names: tuple[str, ...] = ("model.safetensors",)) -> None:
    for name in names:
        (folder / name).write_bytes(trained()[f"run/checkpoints/step_000002/{name}"])


def checkpoint_folder(folder: Path) -> None:
    weights(folder, ("model.safetensors", "config.yaml", "data.json", "state.pt", "sha256.txt"))


def born(folder: Path) -> None:
    import genzoo

    genzoo.train("born_smoke", [f"out={folder / 'run'}", "trainer.steps=1", "trainer.val_every=0", "samples=0"])
    (folder / "run/checkpoints/step_000001/model.safetensors").replace(folder / "model.safetensors")
    shutil.rmtree(folder / "run")


def sample(path: Path) -> None:
    import genzoo

    trained = genzoo.load(path)
    assert len(trained.sample(1).words) == 1


def sample_resealed(path: Path) -> None:
    reseal(path)
    sample(path)


def sample_state(path: Path) -> None:
    """The weights of a checkpoint folder, and what is kept to go on from."""
    checkpoint.load_train_state(path)
    sample(path)


def opened(folder: Path, make: Callable[[Path], Any]) -> None:
    """A checkpoint taken apart: a file for each entry of its metadata, and its tensors."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    make(folder)
    file = folder / "model.safetensors"
    with safe_open(file, framework="pt") as content:
        for key, value in content.metadata().items():
            if key != "sha256":
                (folder / key).write_text(value, encoding="utf-8")
        tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    file.unlink()
    save_file(tensors, folder / "tensors")


def sample_sealed(folder: Path) -> None:
    """Puts it together again, with a hash that is right."""
    from safetensors.torch import load

    from genzoo import sealed

    files = {file.name: file for file in folder.iterdir() if file.is_file()}
    try:
        tensors = load(files.pop("tensors").read_bytes())
    except Exception as error:
        raise UserError(f"key tensors: what is none cannot be sealed ({type(error).__name__})") from error
    whole = folder / "model.safetensors"
    texts = {key: file.read_text(encoding="utf-8", errors="replace") for key, file in files.items()}
    whole.write_bytes(sealed.seal(tensors, texts))
    sample(whole)


def preset(folder: Path) -> None:
    (folder / "preset").mkdir()
    own = (config_folder() / "preset" / "text_smoke.yaml").read_text()
    (folder / "preset" / f"{ZQ}.yaml").write_text(f"{own}scoring: &a {{ngrams: [4, 8]}}\ninit: null\n")


def compose(folder: Path) -> None:
    compose_config("train", [f"preset={ZQ}"], config_dir=str(folder))


def card(folder: Path) -> None:
    head = "license: apache-2.0\ntags: [text, genzoo]\nscore: 1.2 bits"
    (folder / "README.md").write_text(f"---\n{head}\n---\n\n# Name\n\n| a | b |\n|---|---|\n| 1 | `c` |\n")


def read_card(path: Path) -> None:
    from genzoo import zoo
    from genzoo.page.page import as_html

    found = zoo.card(path.parent)
    as_html(found.text), found.about.get("score")
