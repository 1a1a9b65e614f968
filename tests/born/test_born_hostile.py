"""Files and settings of strangers: refused by name before they cost time or memory, and what a run is tied to."""

import os
import tracemalloc
from itertools import combinations

import pytest
import torch

from genzoo.contract import Spec
from genzoo.errors import UserError
from genzoo_born import qasm, qasm_reader
from genzoo_born.ansatz import generators, qaoa
from genzoo_born.data import BornData, read_bits
from genzoo_born.hypercube import MOST_BITS
from genzoo_born.iqp import IQPMachine
from genzoo_born.model import BornMachine
from genzoo_born.rewards import edges_of

HEAD = 'OPENQASM 3; include "stdgates.inc"; '
DOUBLING = "gate g0 a { x a; } " + " ".join(f"gate g{i} a {{ g{i - 1} a; g{i - 1} a; }}" for i in range(1, 40))


def prepared(**options) -> BornData:
    data = BornData(**options)
    data.prepare()
    return data


def refused(said: str, call, *words, **options) -> None:
    """Refused with these words, and at most 20 MB of memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=said):
            call(*words, **options)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("key", ["path", "val_path", "peaks"])
def test_pipes_and_devices(tmp_path, key):
    """Never opened, whatever key names them."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "good.csv").write_text("0,1\n1,1\n" * 9)
    for file in ("/dev/zero", tmp_path / "pipe"):
        options = {"path": str(tmp_path / "good.csv"), key: str(file)}
        refused(f"data.{key}={file} is a pipe or a device, no file", prepared, **options)


def test_large_files(tmp_path):
    """By their size, against a key; and by the width of a string, before the line is read to its end."""
    with open(tmp_path / "a.csv", "wb") as out:
        out.truncate(10**10)
    refused("a.csv claims to hold 10,000 MB, and data.max_mb is 100", read_bits, str(tmp_path / "a.csv"))
    (tmp_path / "b.csv").write_text("0,1\n" * 10 + "01" * 4_000_000)
    refused(f"b.csv line 11: more than {MOST_BITS} bits", read_bits, str(tmp_path / "b.csv"))
    refused("data.max_mb is 1", prepared, path=str(tmp_path / "b.csv"), max_mb=1)
    (tmp_path / "c.csv").write_text(f"{'1' * (MOST_BITS + 1)}\n")
    with pytest.raises(UserError, match=f"line 1: {MOST_BITS + 1} bits, and at most {MOST_BITS}"):
        read_bits(str(tmp_path / "c.csv"))
    (tmp_path / "c.csv").write_text(f"{'1' * MOST_BITS}\n")
    assert read_bits(str(tmp_path / "c.csv")).sum() == MOST_BITS


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strings": 10**9}, r"data\.strings=1000000000 of 16 bits are more than data\.max_mb=100"),
        ({"path": "bas", "rows": 16, "columns": 4096, "strings": 1000}, r"data\.strings=1000 of 65536 bits"),
        ({"rows": 10**5, "columns": 10**5}, r"data\.rows \* data\.columns must be at most 65536"),
        ({"peaks": 10**6}, r"data\.peaks=1000000 are too many"),
    ],
)
def test_large_settings(options, said):
    """Judged before anything is drawn."""
    refused(said, prepared, **options)


@pytest.mark.parametrize("bits", [36 + 4, MOST_BITS])
def test_wide_strings(bits):
    """A state of 2^40 numbers is refused before there is a circuit."""
    refused(f"^{bits} wires ", BornMachine, Spec((bits,), vocab=2), circuit=lambda wires: pytest.fail("was made"))


def test_large_circuits(monkeypatch):
    refused("depth is at most 10000, not 1000000000", qaoa, 4, depth=10**9)
    monkeypatch.setattr("genzoo_born.ansatz.MOST_GATES", 1000)
    refused("a circuit of more than 1000 gates", qaoa, 4, depth=200)
    refused("more than 1000 sets of up to 2 of 60000 wires", generators, 60000, 2)
    refused("more than 1000 sets of up to 64 of 128 wires", IQPMachine, Spec((128,), vocab=2), order=64)
    refused("degree=3 is too many for 60000 nodes", edges_of, 60000, 3, 0, None)


@pytest.mark.parametrize("reach", [None, 0, 1, 3, 9])
def test_generators(reach):
    """All sets of up to three wires that are near enough, in order of their sizes."""
    every = [c for k in (1, 2, 3) for c in combinations(range(6), k)]
    assert generators(6, 3, reach) == [c for c in every if reach is None or c[-1] - c[0] <= reach]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("qubit[100000000] q; h q;", "line 1: register q: at most 4096 qubits"),
        ("qreg q[100000000];", "line 1: register q: at most 4096 qubits"),
        ("creg c[100000000];", "line 1: register c: at most 4096 qubits"),
        (f"qreg q[{'9' * 4000}];", "line 1: register q: at most 4096 qubits"),
        ("qubit[4000] q; qubit[4000] r;", "line 1: register r: at most 4096 qubits"),
        ("qubit[4000] q; h q;", "line 1: more than 500 statements and gates"),
        ("qubit[4000] q; measure q;", "line 1: more than 500 statements and gates"),
        (DOUBLING + " qubit q; g39 q;", "more than 500 statements and gates"),
        (DOUBLING.replace("x a;", "") + " qubit q; g39 q;", "more than 500 statements and gates"),
        ("".join(f"gate g{i} a {{ }}" for i in range(60)), "line 1: more than 50 gates are defined"),
        ("qubit q; rx(1" + "+1" * 600 + ") q;", "line 1: angles of more than 1000 characters"),
        ("qubit q; rx(" + "(" * 400 + "1" + ")" * 400 + ") q;", r"line 1: cannot read the angle '\(\(\("),
        ("qubit q; barrier " + "q, " * 2000 + "q;", "line 1: a statement of more than 5,000 characters"),
        ("gate a" + " " * 100_000 + "(;", "line 1: a statement of more than 5,000 characters"),
        ("/*" * 100_000, r"a comment /\* does not end"),
        ("qubit q; /*/ h q;", r"a comment /\* does not end"),
        ("\ufdfa" * 120_000, "the text has up to 4,200,0"),
        (" " * 2_000_001, "the text has up to 2,000,0"),
        ('include "a\x1b[2Jb";', r"include .a\\x1b\[2Jb. is not supported"),
    ],
)
def test_qasm(monkeypatch, body, said):
    """A few lines that stand for billions, nests, and texts that make patterns slow."""
    monkeypatch.setattr(qasm_reader, "MOST_STEPS", 500)
    monkeypatch.setattr(qasm_reader, "MOST_DEFINITIONS", 50 if "g59" in body else 1000)
    refused(said, qasm.from_qasm, HEAD + body)


def test_qasm_that_is_deep():
    """Definitions that each use the one before, deeper than Python goes."""
    chain = " ".join(f"gate a{i} a {{ a{i - 1} a; }}" for i in range(1, 900))
    refused("line 1: maximum recursion", qasm.from_qasm, f"{HEAD}gate a0 a {{ }} {chain} qubit q; a899 q;")


def test_qasm_that_is_right():
    """Comments of any kind, and what is long but counted, are read."""
    text = HEAD + "/* a\n/* b **/ qubit[3] q; // c /*\n/**/ h q; " + "x q[0]; " * 300
    assert len(qasm.from_qasm(text)[0].gates) == 303


def test_qasm_files(tmp_path, capsys):
    """No pipe, nothing huge, and a name can neither end the comment it stands in nor move the cursor."""
    assert qasm.main(["/dev/zero"]) == 2
    assert capsys.readouterr().err == "genzoo_born.qasm: file=/dev/zero is a pipe or a device, no file\n"
    with open(tmp_path / "a.qasm", "wb") as out:
        out.truncate(10**10)
    assert qasm.main([str(tmp_path / "a.qasm")]) == 2
    assert "a.qasm claims to hold 10,000 MB" in capsys.readouterr().err
    (tmp_path / "a\n_target_: é\x1b.qasm").write_text(HEAD + "qubit q; h q;", encoding="utf-8")
    assert qasm.main([str(tmp_path / "a\n_target_: é\x1b.qasm")]) == 0
    assert capsys.readouterr().out.startswith(
        "# a\\n_target_: \\xe9\\x1b.qasm, as genzoo_born.qasm read it\n_target_: ge"
    )


@pytest.mark.parametrize("bits", [0, 10**9, 4.0, True, "4"])
def test_states(bits):
    """A width that no file could have given is refused."""
    with pytest.raises(UserError, match=f"says strings of {bits} bits"):
        BornData().load_state_dict({"bits": bits})


@pytest.mark.parametrize(
    "options",
    [{}, {"path": "bas", "strings": None}, {"path": "cardinality", "strings": 9}, {"path": "ising", "strings": 9}],
)
def test_fingerprints_of_laws(options):
    """There once the data is prepared; the same again, and another for another seed where strings are drawn."""
    splits = ("train", "val")
    told = [prepared(**options).fingerprint(split) for split in splits]
    assert told == [prepared(**options).fingerprint(split) for split in splits]
    other = [prepared(**options, seed=1).fingerprint(split) for split in splits]
    assert (told == other) == (options.get("strings", 5000) is None)


def test_fingerprints_of_files(tmp_path):
    """Of the strings alone: a file elsewhere gives the same examples; another bit, or other cuts, differ."""
    told = {}
    for name, text in (
        ("a.csv", "0,1,1,0\n1,1,0,0\n0,0,1,0\n"),
        ("elsewhere.txt", "0110\n1100\n0010"),
        ("flipped.csv", "0110\n1101\n0010"),
        ("narrow.csv", "01\n10\n11\n00\n00\n10"),
    ):
        (tmp_path / name).write_text(text)
        data = prepared(path=str(tmp_path / name), val_fraction=0.3)
        told[name] = (data.fingerprint("train"), data.fingerprint("val"), data.batch(3, 4, "train").x)
    assert told["a.csv"][:2] == told["elsewhere.txt"][:2]
    assert torch.equal(told["a.csv"][2], told["elsewhere.txt"][2])
    assert told["a.csv"][0] != told["flipped.csv"][0]
    assert told["a.csv"][1] == told["flipped.csv"][1]
    assert told["a.csv"][0] != told["narrow.csv"][0]
