"""Pictures of circuits: every gate where it belongs, in every format, and one that ends where it becomes too long."""

import re
import sys
from xml.etree import ElementTree

import pytest

from genzoo.errors import UserError
from genzoo_born import draw
from genzoo_born.ansatz import hardware_efficient, iqp, listed
from genzoo_born.circuit import ANGLED, PAIRS, SINGLE, Circuit, Gate

ZOO = Circuit(
    3,
    (
        *(Gate(name, (1,), parameter=7 if name in ANGLED else None) for name in sorted(SINGLE)),
        *(Gate(name, (2, 0), 0.25 if name in ANGLED else 0.0) for name in sorted(PAIRS)),
        *(Gate("multirz", wires, 0.1, 3, -0.5) for wires in ((0, 1, 2), (0, 2), (1,))),
    ),
)
"""Every gate there is."""


@pytest.fixture
def texts():
    """Draws a circuit as SVG, and gives all its texts."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")

    def drawn(folder, circuit: Circuit, **options) -> list[str]:
        import matplotlib

        with matplotlib.rc_context({"svg.fonttype": "none"}):
            path = draw.draw(circuit, folder / "a.svg", **options)
        root = ElementTree.parse(path).getroot()
        return ["".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")]

    return drawn


def test_columns():
    """As early as possible, but a gate keeps the wires between its ends for itself."""
    circuit = listed(4, gates=["h 0", "h 0", "cx 0 2", "h 1", "h 3", "cx 1 3", "h 0", "swap 3 0"])
    assert draw.columns(circuit) == [0, 1, 2, 3, 0, 4, 3, 5]


def test_columns_do_not_overlap():
    """No two gates stand on one wire in one column, and each follows those before it."""
    for circuit in (ZOO, iqp(6, order=3), hardware_efficient(5)):
        last = [-1] * circuit.wires
        for gate, column in zip(circuit.gates, draw.columns(circuit), strict=True):
            span = range(min(gate.wires), max(gate.wires) + 1)
            assert column == 1 + max(last[w] for w in span)
            for w in span:
                last[w] = column


@pytest.mark.parametrize(
    ("gate", "theta", "said"),
    [
        (Gate("rx", (0,), parameter=12), None, "θ₁₂"),
        (Gate("rx", (0,), 0.1, 3, -0.5), None, "-0.5θ₃+0.1"),
        (Gate("rx", (0,), -0.1, 0, -1.0), None, "-θ₀-0.1"),
        (Gate("rx", (0,), 0.1, 0, -0.5), [3.0], "-1.40"),
        (Gate("rx", (0,), 1.234), None, "1.23"),
        (Gate("h", (0,)), [3.0], ""),
    ],
)
def test_angles(gate, theta, said):
    """A learned angle by its number, or by its value where that is known."""
    assert draw.angle(gate, theta) == said


def test_boxes(tmp_path, texts):
    """All gates that have a name have it in the picture, and wires have their numbers."""
    said = texts(tmp_path, ZOO)
    names = {"H", "I", "X", "Y", "Z", "S", "S†", "T", "T†", "√X", "RX", "RY", "RZ", "P", "XX", "YY", "ZZ", "ZZZ"}
    assert names <= {word for line in said for word in line.split()} | set(said)
    assert {"0", "1", "2", "θ₇", "0.25"} <= {word for line in said for word in line.split()}


def test_angles_in_the_picture(tmp_path, texts):
    """theta puts numbers where the names of angles were."""
    circuit = listed(2, gates=["ry 0", "rzz 0 1"])
    assert not {"θ₀", "θ₁"} & set(" ".join(texts(tmp_path, circuit, theta=[0.5, -2])).split())
    assert {"0.50", "-2.00"} <= set(" ".join(texts(tmp_path, circuit, theta=[0.5, -2])).split())
    with pytest.raises(ValueError, match="this circuit has 2 learned angles, not 1"):
        draw.draw(circuit, tmp_path / "b.svg", theta=[0.5])
    assert not (tmp_path / "b.svg").exists()


def test_long_circuits(tmp_path, texts, monkeypatch):
    """Wires go on below, and the picture ends with how much is left out."""
    monkeypatch.setattr(draw, "ROW", 4)
    monkeypatch.setattr(draw, "MOST", 10)
    whole = texts(tmp_path, Circuit(2, (Gate("h", (0,)),) * 10))
    assert [whole.count(word) for word in ("H", "0", "1")] == [10, 3, 3]
    assert not re.search("more", " ".join(whole))
    cut = texts(tmp_path, Circuit(2, (Gate("h", (0,)),) * 17))
    assert [cut.count(word) for word in ("H", "0", "1")] == [10, 3, 3]
    assert {"...", "7 more columns"} <= {line.strip() for words in cut for line in words.split("\n")}


@pytest.mark.parametrize(("name", "written"), [("a.png", "a.png"), ("a", "a.png"), ("a.pdf", "a.pdf")])
def test_formats(tmp_path, name, written):
    """The ending of the path is the format, and the path that is given back is where the picture is."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    path = draw.draw(Circuit(1, ()), tmp_path / name)
    assert path == tmp_path / written
    assert path.read_bytes().startswith({".png": b"\x89PNG", ".pdf": b"%PDF"}[path.suffix])


def test_pyplot_stays_away(tmp_path, monkeypatch):
    """No window system is asked for."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    draw.draw(listed(2, gates=["h 0", "cx 0 1", "swap 0 1"]), str(tmp_path / "a.png"))


def test_without_matplotlib(tmp_path, monkeypatch):
    """The one line that says what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=re.escape("pip install 'genzoo[born]'")):
        draw.draw(ZOO, tmp_path / "a.png")


def test_text():
    """Small circuits in characters."""
    circuit = listed(3, gates=["h 0", "ry 2", "cx 0 2", "cz 1 0", "rzz 1 2", "swap 0 2", "crx(1) 2 1", "cp 0 1"])
    assert draw.text(circuit) == (
        "0: ─H──●─●────x────P─\n"
        "       │ │    │    │\n"
        "1: ────┼─●─ZZ─┼─RX─P─\n"
        "       │   │  │ │\n"
        "2: ─RY─⊕───ZZ─x─●────"
    )  # fmt: skip


def test_text_is_wrapped():
    """Lines are never longer than asked, and all gates are there."""
    said = draw.text(hardware_efficient(12, depth=2), width=60)
    assert max(map(len, said.split("\n"))) <= 60
    assert said.count("RY") == 36
    assert said.count("ZZ") == 2 * 2 * 66
    blocks = said.split("\n\n\n")
    assert len(blocks) > 2
    assert {len(block.split("\n")) for block in blocks} == {23}
    assert draw.text(Circuit(2, ())) == "0: ─\n\n1: ─"


def test_text_ends():
    """A text that is cut says so."""
    assert draw.text(Circuit(1, (Gate("h", (0,)),) * 240)).count("H") == 240
    assert "…" not in draw.text(Circuit(1, (Gate("h", (0,)),) * 240))
    cut = draw.text(Circuit(1, (Gate("h", (0,)),) * 241))
    assert cut.endswith("H─…")
    assert cut.count("H") == 240
