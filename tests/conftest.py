"""What all tests share: one thread, a trained model, a text to learn from, the command line's answer to mistakes."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

SENTENCE = "The quick brown fox jumps over the lazy dog, and the dog sleeps on. "
TINY = ("trainer.steps=2", "trainer.val_every=0", "trainer.save_every=0", "samples=0")
"""Two steps and one checkpoint: what is left of a training where only its surroundings are tested."""
FIRST = {"audio": {"data.codec": "audio_codec"}, "video_large": {"data.autoencoder": "video_autoencoder"}}
"""By smoke preset: keys that name the run of another, which is trained first."""


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """The models here are too small for more than one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _no_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's GENZOO_DEBUG would turn one-line errors into tracebacks."""
    monkeypatch.delenv("GENZOO_DEBUG", raising=False)


@pytest.fixture(scope="session")
def smoke_run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run folder of a modality's smoke preset, trained once by the Python API. Shared: read it, write only to
    copies.

    Hydra's and Accelerate's state belong to the process, so further trainings share them with these.
    """
    import genzoo

    @cache
    def trained(modality: str) -> Path:
        words = [f"{key}={trained(other)}" for key, other in FIRST.get(modality, {}).items()]
        return genzoo.train(f"{modality}_smoke", [f"out={tmp_path_factory.mktemp(modality) / 'run'}", *words])

    return trained


@pytest.fixture(scope="session")
def smoke_run(smoke_run_of: Callable[[str], Path]) -> Path:
    """That of text."""
    return smoke_run_of("text")


@pytest.fixture
def run_copy(smoke_run: Path, tmp_path: Path) -> Path:
    """A copy of the trained run for a test to write to."""
    return shutil.copytree(smoke_run, tmp_path / "run", symlinks=True)


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """A text long enough for text_smoke."""
    file = tmp_path / "small.txt"
    file.write_text(SENTENCE * 30, encoding="utf-8")
    return file


@pytest.fixture
def tiny() -> tuple[str, ...]:
    """Overrides that make a training as short as it can be."""
    return TINY


def state_of(folder: Path) -> dict[str, object]:
    """Every path below a folder with what would tell that it was written to: time, and target or content."""
    state: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            content = str(path.readlink())
        else:
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        state[str(path.relative_to(folder))] = (content, path.lstat().st_mtime_ns)
    return state


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command in `tmp_path` that must fail as the design says: one line that begins with "genzoo: ", status 2,
    and nothing created or changed on the disk. Returns the line."""
    from genzoo.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> str:
        before = state_of(tmp_path)
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        error = capsys.readouterr().err
        assert stop.value.code == 2
        assert error.startswith("genzoo: ")
        assert error.endswith("\n")
        assert error.count("\n") == 1, f"more than one line: {error}"
        assert state_of(tmp_path) == before
        return error.strip()

    return run
