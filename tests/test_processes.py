"""Several processes: the same global batch, the same result as one."""

import os
import subprocess
import sys

import torch

from genzoo import checkpoint


def test_two_processes_end_where_one_does(tmp_path):
    """torchrun with two CPU processes shares each batch; the weights agree with one process up to rounding."""
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be that is the question\n" * 100)
    words = ["trainer.steps=6", "trainer.precision=float32", "trainer.device=cpu", f"data.path={text}", "samples=0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m"]
    for name, start in (("one", [sys.executable, "-m"]), ("two", launch)):
        command = [*start, "genzoo_text.train", "preset=text_smoke", *words, f"out={tmp_path / name}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (checkpoint.load(tmp_path / name / "checkpoints" / "last") for name in ("one", "two"))
    assert one.step == two.step == 6
    for name, value in one.weights.items():  # Muon turns rounding into differences of 1e-4; another batch gives 1e-2
        torch.testing.assert_close(two.weights[name], value, rtol=0, atol=3e-3)
    assert (tmp_path / "two" / "log.csv").read_text().count("\n") == (tmp_path / "one" / "log.csv").read_text().count(
        "\n"
    )
