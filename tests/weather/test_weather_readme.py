"""The Python of the README runs."""

import re
import shutil
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "packages" / "genzoo_weather" / "README.md"


def test_python_of_the_readme(smoke_run_of, tmp_path, monkeypatch, capsys):
    """Four maps of the climate, in SI units: the mean depth is near that of the simulator."""
    shutil.copytree(smoke_run_of("weather"), tmp_path / "runs" / "weather", symlinks=True)
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(block, names)
    assert "['u', 'v', 'h']" in capsys.readouterr().out
    assert abs(names["maps"][:, 2].mean().item() - 4000) < 200
