"""The documentation of attention_core runs, and importing it brings torch and nothing else."""

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import attention_core

NAMES = {name: getattr(attention_core, name) for name in attention_core.__all__}
README = Path(__file__).parents[2] / "shared" / "attention_core" / "README.md"


def examples() -> list[doctest.DocTest]:
    """Every docstring of attention_core that has an example in it."""
    found = []
    for module in pkgutil.iter_modules(attention_core.__path__, "attention_core."):
        found += doctest.DocTestFinder().find(importlib.import_module(module.name), extraglobs=NAMES | {"torch": torch})
    return [test for test in found if test.examples]


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_example(test):
    """What a docstring's example promises is what it prints."""
    report = []
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=report.append)
    assert result.attempted == len(test.examples)
    assert result.failed == 0, "".join(report)


@pytest.mark.parametrize("name", [name for name, value in NAMES.items() if inspect.isclass(value)])
def test_class_has_an_example(name):
    """Every public class shows itself at work, and its page says what goes in and out."""
    assert ">>> " in (NAMES[name].__doc__ or ""), f"the docstring of {name} has no example"


def test_public_names():
    """`__all__` is sorted, names all that the files define in public, and all of it is documented."""
    assert attention_core.__all__ == sorted(attention_core.__all__)
    assert all(inspect.getdoc(value) for value in NAMES.values())
    defined = set()
    for module in pkgutil.iter_modules(attention_core.__path__, "attention_core."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if getattr(value, "__module__", None) == module.name and not name.startswith("_"):
                defined.add(name)
    assert defined == set(attention_core.__all__)


def test_readme():
    """The code of the README runs, and its table names every file."""
    if not README.exists():
        pytest.skip("the README of attention_core is not in this checkout")
    text = README.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(README), "exec"), {})
    named = set(re.findall(r"`(\w+\.py)`", text))
    assert named == {path.name for path in README.parent.glob("*.py")} - {"__init__.py"}


def test_imports_torch_and_nothing_else():
    """In a fresh interpreter attention_core loads no package that torch does not load by itself."""
    code = (
        "import sys, torch; before = set(sys.modules); import attention_core;"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}));"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    out = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    new, loaded = (set(line.split()) for line in out.splitlines())
    assert new - set(sys.stdlib_module_names) - {"torch"} == {"attention_core"}
    assert not loaded & {"hydra", "accelerate", "omegaconf", "safetensors", "scipy", "genzoo"}
