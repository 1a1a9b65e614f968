"""The Python of the README runs."""

import re
import shutil
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "packages" / "genzoo_born" / "README.md"


def test_python_of_the_readme(smoke_run_of, tmp_path, monkeypatch):
    """Export, drawing and the law of a trained circuit."""
    shutil.copytree(smoke_run_of("born"), tmp_path / "runs" / "born", symlinks=True)
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(block, names)
    assert (tmp_path / "born.qasm").read_text().startswith("OPENQASM 3")
    assert (tmp_path / "born.png").stat().st_size > 1000
    assert abs(names["law"].sum().item() - 1) < 1e-5
