"""What the README of the objectives says: its example of a reward runs as it stands, and what is refused is refused."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import genzoo
from genzoo.config import config_folder

README = config_folder().parent / "shared/genzoo/objectives/README.md"


def test_the_example_of_a_reward(smoke_run, tmp_path):
    """The module in the folder that one works in, and the command, of a smaller model: from the shell, whose path does
    not hold that folder."""
    text = README.read_text(encoding="utf-8")
    name, code, command = re.search(
        r"`(\w+\.py)`, in the folder[^`]+```python\n(.*?)```\n\n```\n(.*?)\n```", text, re.DOTALL
    ).groups()
    (tmp_path / name).write_text(code, encoding="utf-8")
    words = shlex.split(command)
    assert words[:3] == ["genzoo", "train", "text"]
    changed = {"data.path": "builtin", "init": smoke_run, "trainer.steps": 2, "trainer.val_every": 1}
    changed |= {"trainer.batch_size": 8, "objective.samples": 4, "samples": 0, "out": "run"}
    kept = [word for word in words[3:] if word.partition("=")[0] not in changed]
    genzoo_command = Path(sys.executable).parent / "genzoo"
    ran = subprocess.run(
        [genzoo_command, "train", "text_smoke", *kept, *(f"{key}={value}" for key, value in changed.items())],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "reward" in (tmp_path / "run" / "log.csv").read_text().splitlines()[0]


@pytest.fixture(scope="module")
def many_qubits(tmp_path_factory):
    """The run of a circuit beyond simulation."""
    words = ["data.rows=5", "data.columns=5", "trainer.steps=1", "trainer.val_every=0", "trainer.batch_size=20"]
    return genzoo.train("born_iqp", [*words, f"out={tmp_path_factory.mktemp('iqp') / 'run'}"])


@pytest.mark.parametrize(
    ("preset", "words", "line"),
    [
        ("points", ["objective.through=x_hat"], "objective.through=x_hat cannot reach this model: choose sample"),
        ("text", ["objective.through=sample"], "objective.through=sample cannot reach this model: choose score"),
        ("born", ["objective.through=x_hat"], "objective.through=x_hat cannot reach this model: choose score"),
        ("text", ["objective.distil=1", "init=RUN"], "set objective.through=sample"),
        ("motion", ["objective=adversarial_shapes", "init=RUN"], "this critic looks at clouds of points"),
        ("text", ["objective=adversarial_video"], "this critic looks at clips"),
    ],
)
def test_what_no_critic_reaches(refused, smoke_run_of, preset, words, line):
    words = [word.replace("RUN", str(smoke_run_of(preset))) for word in words]
    assert line in refused("train", f"{preset}_smoke", "objective=adversarial", *words)


def test_circuits_beyond_simulation(refused, many_qubits):
    """Their likelihood is out of reach: for a critic, and for a reward."""
    size = ["data.rows=5", "data.columns=5"]
    line = refused("train", "born_iqp", *size, "objective=adversarial")
    assert "objective.through=auto cannot reach this model: choose objective=native" in line
    line = refused("train", "born_iqp", *size, "objective=reward", "reward=runs", f"init={many_qubits}")
    assert "its law is out of reach: choose objective=native" in line
