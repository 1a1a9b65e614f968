"""A modality, a family and an objective in a package of its own: the example of CONTRIBUTING.md, file by file."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINES = {"genzoo_waves/data.py": 60, "genzoo_waves/model.py": 30, "genzoo_waves/objective.py": 35}
"""At most, by file."""


@pytest.fixture(scope="module")
def blocks() -> dict[str, str]:
    """The code blocks of CONTRIBUTING.md that name their file in the first line, and the project's own."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = dict(re.findall(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", text, re.M | re.S))
    return found | {"pyproject.toml": re.search(r"^```toml\n(.*?)^```$", text, re.M | re.S)[1]}


@pytest.fixture(scope="module")
def place(blocks: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as pip installs it (`site`), the configurations (`configs`), and room for runs."""
    folder = tmp_path_factory.mktemp("plugin")
    for name, text in blocks.items():
        file = folder / ("site" if name.endswith(".py") else "") / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    project = tomllib.loads(blocks["pyproject.toml"])["project"]
    (folder / "site" / project["name"] / "__init__.py").touch()
    info = folder / "site" / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = [f"{name} = {value}\n" for name, value in project["entry-points"]["genzoo.modalities"].items()]
    (info / "entry_points.txt").write_text("".join(["[genzoo.modalities]\n", *points]))
    return folder


def say(place: Path, *words: str, code: str = "from genzoo.cli import main; main()") -> str:
    """What a command prints, in a process of its own."""
    here = os.environ | {"PYTHONPATH": str(place / "site"), "PYTHONWARNINGS": "", "OMP_NUM_THREADS": "1"}
    told = [sys.executable, "-c", code, *words]
    done = subprocess.run(told, cwd=place, env=here, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("file", LINES)
def test_it_is_short(blocks, file):
    assert len(blocks[file].splitlines()) <= LINES[file]


def test_from_training_to_the_gallery(place):
    """By the command line, and nothing but the package and its configurations is there."""
    train = ["train", "waves", "--config-dir", "configs", "out=run", "samples=1"]
    said = say(place, *train, "trainer.steps=100", "trainer.device=cpu")
    assert "now: genzoo sample checkpoint=run" in said
    assert re.search(r"--- sample at step 100 ---\n[▁▂▃▄▅▆▇█]{24}\n", said)
    assert "resumed at step 100" in say(place, *train, "resume=true", "trainer.steps=200")

    said = say(place, "sample", "checkpoint=run", "n=3", "out=made", "temperature=0.8")
    assert len(set(re.findall(r"^[▁▂▃▄▅▆▇█]{24}$", said, re.M))) == 3
    waves = [[float(value) for value in file.read_text().split()[1:]] for file in sorted(place.glob("made/*.csv"))]
    assert [len(wave) for wave in waves] == [24, 24, 24]
    assert 0.5 < max(map(max, waves)) < 10, "in metres"

    say(place, "evaluate", "checkpoint=run", "n=4")
    scores = json.loads((place / "run" / "metrics.json").read_text())["evaluate_val"]
    assert scores["nats_per_element"] < 0.5, "better than a normal distribution of each point, whose entropy is 1.42"
    assert scores["protocol"]["step"] == 200

    say(place, "gallery", "checkpoints=[run]", "out=page.html", "n=2")
    assert re.search(r"[▁▂▃▄▅▆▇█]{24}", (place / "page.html").read_text(encoding="utf-8"))


def test_it_keeps_the_contract(place):
    """As `genzoo check` says."""
    code = "from genzoo.verbs.check import check; check(['preset=waves'], config_dir='configs')"
    said = say(place, code=code)
    assert said.startswith("data: Waves\n")
    assert "\nmodel: Gaussian\n" in said
