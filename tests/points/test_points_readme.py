"""The Python of the README runs."""

import re
import shutil
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "packages" / "genzoo_points" / "README.md"


def test_python_of_the_readme(smoke_run_of, tmp_path, monkeypatch, capsys):
    """Four chairs of as many points as were asked for."""
    shutil.copytree(smoke_run_of("points"), tmp_path / "runs" / "points", symlinks=True)
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(block, {})
    said = capsys.readouterr().out
    assert "torch.Size([4, 1024, 3])" in said
    assert "chairs/003.ply" in said
