"""Requests that nobody remembers: two in a row, two threads, two sizes of a batch do not know of each other."""

import ast
import threading
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

import genzoo
from genzoo.contract import Data, Request
from genzoo.draws import RowNoise

ROOT = Path(__file__).resolve().parents[1]

WORDS = {
    "text": [{"prompt": "ROMEO:"}, {"prompt": "JULIET:", "stop": ["\n"]}],
    "audio": [{"label": "7_george"}, {"label": "2"}],
    "music": [{"ticks": 8, "tempo": 50.0}, {"ticks": 4, "wav": False}],
    "points": [{"label": "chair", "format": "glb"}, {"label": "table", "format": "npz", "turntable": True}],
    "motion": [{"label": "walker", "length": 3}, {"label": "snake", "format": "glb"}],
    "video": [{"label": "3", "frames": 4}, {"label": "7", "format": "gif", "fps": 3.0}],
    "weather": [{"date": "2010-01-01"}, {"date": "2011-07-05"}],
    "born": [{}, {"depolarizing": 0.5}],
}
"""Of each modality, two wishes that differ."""


def said(request: Request) -> list:
    """All of a request that can be compared."""
    shown = [] if request.show is None else [getattr(request.show, f.name) for f in fields(request.show)]
    plain = [value for value in request.options.values() if not callable(value)]
    tensors = {name: value.tolist() for name, value in request.cond.items()}
    return [request.n, tensors, plain, list(request.titles), [np.asarray(x, object).tolist() for x in shown]]


@pytest.fixture(scope="module")
def loaded():
    """The weights that come with the packages, each loaded once."""
    models: dict[str, genzoo.Model] = {}
    return lambda name: models.setdefault(name, genzoo.load(name, device="cpu"))


@pytest.mark.parametrize("name", WORDS)
def test_two_threads(loaded, name):
    """64 requests each of different words: none carries the other's."""
    model, mixed = loaded(name), []
    want = [said(model.request(2, **words)) for words in WORDS[name]]
    assert want[0] != want[1]
    barrier = threading.Barrier(2)

    def ask(which: int) -> None:
        barrier.wait()
        found = [model.request(2, **WORDS[name][which]) for _ in range(64)]
        mixed.extend(request for request in found if said(request) != want[which])

    threads = [threading.Thread(target=ask, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mixed == []


def test_a_prompt_stays_with_its_samples(loaded):
    """Asked for one after the other and by two threads at once."""
    model, texts = loaded("text"), {}
    first = model.sample(1, prompt="ROMEO:", length=8)
    model.sample(1, prompt="JULIET:", length=8)
    assert first.words[0].startswith("ROMEO:")

    def ask(prompt: str) -> None:
        texts[prompt] = [model.sample(1, prompt=prompt, length=4, seed=i).words[0] for i in range(16)]

    threads = [threading.Thread(target=ask, args=(prompt,)) for prompt in ("ROMEO:", "JULIET:")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(text.startswith(prompt) for prompt, found in texts.items() for text in found)


def test_files_are_as_they_were_asked_for(loaded, tmp_path):
    """Chairs as GLB, then tables as NPZ: the chairs are still chairs, and GLB."""
    model = loaded("points")
    chairs = model.sample(2, label="chair", format="glb", steps=1)
    tables = model.sample(1, label="table", format="npz", steps=1)
    assert [file.suffix for file in chairs.write(tmp_path / "chairs")] == [".glb", ".glb", ".png"]
    assert [file.suffix for file in tables.write(tmp_path / "tables")] == [".npz", ".png"]
    assert [exhibit.title for exhibit in chairs.exhibits()] == ["chair", "chair"]


def test_samples_one_by_one(loaded):
    """In part they are samples, with the words that are theirs."""
    samples = loaded("points").sample(4, steps=1)
    assert len(samples) == len(list(samples)) == 4
    assert [list(sample.request.titles) for sample in samples] == [[title] for title in samples.request.titles]
    assert torch.equal(samples[1:3].x, samples.x[1:3])
    assert samples[-1].request.cond["label"].tolist() == samples.request.cond["label"][-1:].tolist()
    with pytest.raises(IndexError):
        samples[4]


def test_a_notebook_shows_them(loaded):
    """As the gallery does, in a frame that asks nothing of the notebook."""
    shown = loaded("text").sample(2, prompt="ROMEO:", length=12)._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert shown.count("ROMEO:") == 2
    assert "<script" not in shown, "what is in it is escaped"


SAMPLERS = {
    "text": {"length": 24},
    "points": {"steps": 2, "points": 100},
    "weather": {"steps": 2},
    "born": {"depolarizing": 0.02},
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_do_not_depend_on_how_many_there_are(loaded, name):
    """Equal to the bit in batches of a size, whatever comes after them; in batches of another size floats agree but
    for their last digits, as the processor's kernels differ, and tokens in at least 99 of a hundred rows."""
    model, words = loaded(name), SAMPLERS[name]
    few, many = (model.sample(n, batch_size=3, seed=4, **words).x for n in (6, 12))
    assert torch.equal(few, many[:6])
    at_once = model.sample(12, batch_size=12, seed=4, **words).x
    if at_once.is_floating_point():
        torch.testing.assert_close(at_once, many, rtol=0, atol=1e-4 * float(many.std()))
    else:
        same = (at_once == many).flatten(1).all(dim=1).float().mean()
        assert same >= 0.99
    other = model.sample(6, batch_size=3, seed=5, **words).x
    assert not (other[:5] == few[1:]).flatten(1).all(dim=1).any(), "row 1 of a seed is not row 0 of the next"


def test_samples_have_the_noise_of_their_rows(loaded):
    """Of seed and row, as the contract says."""
    model = loaded("weather")
    request = model.request(2)
    with torch.inference_mode():
        want = model.model.sample(2, request.cond, RowNoise(range(2), "sample", 9), **request.options)
    assert torch.equal(model.sample(2, seed=9).x, want)


# ---- nothing is kept


def assigned(function: ast.AST) -> set[str]:
    """Attributes of self that a function assigns to, or to a part of."""
    targets = [t for node in ast.walk(function) if isinstance(node, ast.Assign) for t in node.targets]
    targets += [node.target for node in ast.walk(function) if isinstance(node, ast.AugAssign | ast.AnnAssign)]
    found = set()
    while targets:
        target = targets.pop()
        if isinstance(target, ast.Tuple | ast.List):
            targets += target.elts
        elif isinstance(target, ast.Subscript | ast.Starred):
            targets.append(target.value)
        elif isinstance(target, ast.Attribute):
            if isinstance(target.value, ast.Name) and target.value.id == "self":
                found.add(target.attr)
            targets.append(target.value)
    return found


def calls(function: ast.AST) -> set[str]:
    """Methods of self that it calls."""
    return {
        node.func.attr
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name | ast.Call)
    }


def data_classes() -> list[tuple[str, ast.ClassDef]]:
    files = [*ROOT.glob("packages/*/**/*.py")]
    classes = {}
    for file in files:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and any(getattr(b, "id", "").endswith("Data") for b in node.bases):
                classes[node.name] = node
    return sorted(classes.items())


def test_there_are_data_to_look_at():
    assert len(data_classes()) >= 9


@pytest.mark.parametrize(("name", "node"), data_classes())
def test_no_method_remembers(name, node):
    """None but the constructor, `prepare` and `load_state_dict`, and what only they call, assigns to `self`."""
    methods = {f.name: f for f in node.body if isinstance(f, ast.FunctionDef)}
    allowed = {"__init__", "prepare", "load_state_dict"}
    callers = {m: {c for c, f in methods.items() if m in calls(f)} for m in methods}
    grown = True
    while grown:
        more = {m for m in methods if m not in allowed and callers[m] and callers[m] <= allowed and m.startswith("_")}
        grown = bool(more)
        allowed |= more
    remembering = {m: assigned(f) for m, f in methods.items() if m not in allowed and assigned(f)}
    assert remembering == {}


def test_the_contract_remembers_nothing_either():
    assert Request(3) == Request(3)
    with pytest.raises(AttributeError):
        Request(3).n = 4
    assert "condition" not in vars(Data)
