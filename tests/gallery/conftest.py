"""A page of small runs that has every kind of exhibit."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import genzoo
from genzoo import checkpoint, zoo

NASTY = "</script><script>alert('x')</script> & \"quoted\" <img src=x onerror=alert(1)>"
CARD = f"""---
score: 1.5 nats & {NASTY}
---
# A card

| | |
|---|---|
| licence | as the code |

[a link](https://example.org/a) ![a picture](https://example.org/b.png) {NASTY}
"""
SHOWS = {
    "text": [{"caption": NASTY, "prompt": "The ", "length": 20, "n": 2}],
    "music": [{"n": 1, "ticks": 32}, {"first": {"ticks": 16}, "melody": "first/000.mid"}],
    "points": [{"n": 1}, {"n": 1, "mesh": True, "seed": 3}],
    "motion": [{"n": 1, "rollout": 2}],
    "video": [{"n": 2}],
    "born": [{"n": 100}],
}


class Page(NamedTuple):
    file: Path
    text: str


@pytest.fixture(scope="session")
def weights(smoke_run_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of weights as they come with the packages, by name; text has a card."""
    found = {}
    for name in SHOWS:
        found[name] = tmp_path_factory.mktemp("shipped") / "weights" / name
        found[name].mkdir(parents=True)
        shutil.copy(checkpoint.resolve(smoke_run_of(name) / "checkpoints" / "last"), found[name])
    (found["text"] / "README.md").write_text(CARD, encoding="utf-8")
    return found


@pytest.fixture(scope="session")
def page(weights: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of all of them."""
    words = [f"shows.{name}.samples={hydra(samples)}" for name, samples in SHOWS.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "shipped", lambda: weights)
        out = genzoo.gallery([f"out={tmp_path_factory.mktemp('page') / 'page.html'}", *words])
    return Page(out, out.read_text(encoding="utf-8"))


def hydra(value: object) -> str:
    """A plain value in hydra's grammar of overrides."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{hydra(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(hydra, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("'", "\\'") + "'"
    return str(value).lower()
