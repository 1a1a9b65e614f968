"""The rules of the house that a program can check."""

import ast
import graphlib
import subprocess
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(file for folder in ("shared", "packages") for file in (ROOT / folder).rglob("*.py"))
ALLOWED = {
    "packages",
    "shared",
    "configs",
    "tests",
    "pyproject.toml",
    "README.md",
    "Makefile",
    "constraints.txt",
    "LICENSE",
    "CONTRIBUTING.md",
}
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


@pytest.fixture(scope="module")
def project() -> dict:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_dependency_rule(capsys):
    """import-linter's contracts of pyproject.toml hold: genzoo_* -> genzoo -> attention_core -> torch."""
    from importlinter.cli import lint_imports

    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    said = capsys.readouterr().out
    assert status == 0, said
    assert "0 broken" in said
    assert "0 kept" not in said


def test_every_package_is_under_the_rule(project):
    """A new package is shipped and linted, or this fails."""
    there = {file.parent.name for folder in ("shared", "packages") for file in (ROOT / folder).glob("*/__init__.py")}
    shipped = {Path(path).name for path in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    rule = project["tool"]["importlinter"]
    layers = next(contract["layers"] for contract in rule["contracts"] if contract["type"] == "layers")
    assert there == shipped == set(rule["root_packages"])
    assert {name.strip(" ()") for layer in layers for part in layer.split("|") for name in part.split(":")} == there


def test_top_level():
    """The repository's top level holds what the design lists, and dotfiles."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode or not listed.stdout:
        pytest.skip("not a git checkout")
    top = {path.partition("/")[0] for path in listed.stdout.split("\0") if path}
    assert {name for name in top if not name.startswith(".")} <= ALLOWED


def modules_of(tree: ast.AST) -> set[str]:
    """Top names of all modules imported anywhere in a file."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_is_unpickled(file):
    """No import of a pickle, no torch.load but with weights_only=True, no np.load with allow_pickle."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert not modules_of(tree) & PICKLES
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        options = {word.arg: ast.unparse(word.value) for word in call.keywords}
        if name.endswith("torch.load"):
            assert options.get("weights_only") == "True", f"line {call.lineno}"
        assert options.get("allow_pickle", "False") == "False", f"line {call.lineno}"
    assert not any(
        isinstance(node, ast.ImportFrom) and node.module == "torch" and "load" in {alias.name for alias in node.names}
        for node in ast.walk(tree)
    ), "name it torch.load, so that this test sees it"


def test_attention_core_knows_torch_alone():
    """Whatever the linter lists as forbidden: attention_core imports torch, the standard library, and itself."""
    import sys

    for file in (ROOT / "shared" / "attention_core").rglob("*.py"):
        foreign = modules_of(ast.parse(file.read_text(encoding="utf-8"))) - set(sys.stdlib_module_names)
        assert foreign <= {"torch", "attention_core"}, file.name


def test_version_is_said_once(project):
    """The package and its distribution agree."""
    import genzoo

    assert genzoo.__version__ == project["project"]["version"]


def test_constraints_pin_what_is_required(project):
    """Every dependency that the tests run with has an exact version in constraints.txt; torch is one of them."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0].strip().lower().replace("_", "-") for line in lines if "==" in line}
    extras = project["project"]["optional-dependencies"]
    wanted = [*project["project"]["dependencies"], *extras["text"], *extras["dev"], *extras["tensorboard"]]
    names = {word.partition(">")[0].partition("[")[0].strip().lower() for word in wanted} - {"genzoo"}
    assert "torch" in names
    assert names <= pinned, f"not pinned: {', '.join(sorted(names - pinned))}"


def test_no_module_imports_itself_in_a_circle():
    """Whatever the way: at the top, inside a function, or for annotations alone."""
    names = ("attention_core", "genzoo", *sorted(path.name for path in (ROOT / "packages").glob("genzoo_*")))
    graph = grimp.build_graph(*names, exclude_type_checking_imports=False, cache_dir=None)
    imported = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert sum(map(len, imported.values())) > 500
    graphlib.TopologicalSorter(imported).prepare()  # CycleError names the modules
