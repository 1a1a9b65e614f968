"""The Python of the README runs."""

import re
import shutil
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "packages" / "genzoo_audio" / "README.md"


def test_python_of_the_readme(smoke_run_of, tmp_path, monkeypatch, capsys):
    """Two sounds, their rate and the names of the labels."""
    shutil.copytree(smoke_run_of("audio"), tmp_path / "runs" / "audio", symlinks=True)
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(block, {})
    said = capsys.readouterr().out
    assert "\n2 8000 [" in f"\n{said}"
    assert "'bell'" in said
