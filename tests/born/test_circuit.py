"""Circuits as data, and the circuits that have names."""

import math
import re
from itertools import pairwise

import numpy as np
import pytest

from genzoo_born.ansatz import generators, hardware_efficient, iqp, listed, matrix_product, pairs, qaoa
from genzoo_born.circuit import ANGLED, PAIRS, SINGLE, Circuit, Gate, simple

EVERY = sorted({*SINGLE, *PAIRS, "multirz"})


def on(name: str) -> tuple[int, ...]:
    """Wires for a gate of three wires, not in their order."""
    return (2,) if name in SINGLE else (2, 0) if name in PAIRS else (2, 0, 1)


# ---- circuits


@pytest.mark.parametrize(
    ("wires", "gate", "message"),
    [
        (0, None, "a circuit needs at least 1 wire, not 0"),
        (-3, None, "a circuit needs at least 1 wire, not -3"),
        (2, Gate("ccx", (0, 1)), r"unknown gate ccx on wires \[0, 1\]; there are: ch, cp, .* multirz, .*, z$"),
        (2, Gate("rx", (2,)), r"gate rx on wires \[2\]: the wires of this circuit are 0 to 1"),
        (2, Gate("cx", (-1, 0)), r"gate cx on wires \[-1, 0\]: the wires of this circuit are 0 to 1"),
        (2, Gate("cx", (1, 1)), r"gate cx on wires \[1, 1\]: a wire is named twice"),
        (3, Gate("multirz", (0, 1, 0)), r"gate multirz on wires \[0, 1, 0\]: a wire is named twice"),
        (3, Gate("h", (0, 1)), r"gate h on wires \[0, 1\]: it acts on 1 wire$"),
        (3, Gate("h", ()), r"gate h on wires \[\]: it acts on 1 wire$"),
        (3, Gate("swap", (2,)), r"gate swap on wires \[2\]: it acts on 2 wires$"),
        (3, Gate("rzz", (0, 1, 2)), r"gate rzz on wires \[0, 1, 2\]: it acts on 2 wires$"),
        (3, Gate("multirz", ()), r"gate multirz on wires \[\]: it acts on 1 wire$"),
        (2, Gate("x", (0,), 0.5), r"gate x on wires \[0\] has no angle"),
        (2, Gate("cz", (0, 1), parameter=0), r"gate cz on wires \[0, 1\] has no angle"),
    ],
)
def test_refused(wires, gate, message):
    """Wrong numbers of wires, unknown gates, and angles where none belong are refused when the circuit is made."""
    with pytest.raises(ValueError, match=message):
        Circuit(wires, (Gate("h", (0,)), gate) if gate else ())


@pytest.mark.parametrize("name", EVERY)
def test_accepted(name):
    """Every gate goes on its number of wires in any order; exactly the twelve kinds with an angle take one."""
    assert Circuit(3, (Gate(name, on(name)),)).parameters == 0
    if name in ANGLED:
        assert Circuit(3, (Gate(name, on(name), 0.3, 4, 2.0),)).parameters == 5
    else:
        with pytest.raises(ValueError, match=f"gate {name} .* has no angle"):
            Circuit(3, (Gate(name, on(name), parameter=4),))
    assert len(ANGLED) == 12


def test_parameters():
    """As many as the highest number says, however often one is used; fixed angles do not count."""
    assert Circuit(1, ()).parameters == 0
    assert Circuit(1, (Gate("rx", (0,), 0.5),)).parameters == 0
    shared = tuple(Gate(name, (0,), parameter=2) for name in ("rx", "ry"))
    assert Circuit(1, (*shared, Gate("rz", (0,), parameter=0))).parameters == 3


def test_angle():
    """angle + scale * theta[parameter], or the angle alone."""
    assert Gate("rx", (0,), 0.5, 1, -2.0).at([9.0, 0.1]) == 0.5 - 2.0 * 0.1
    assert Gate("rx", (0,), 0.5, scale=-2.0).at([9.0]) == 0.5


def test_then(dense, random_circuit):
    """One circuit after another is the product of their unitaries, each with parameters of its own."""
    first, second = random_circuit(3, 30, seed=1), random_circuit(3, 30, seed=2)
    both = first.then(second)
    assert both.parameters == first.parameters + second.parameters
    assert both.gates[: len(first.gates)] == first.gates
    theta = np.random.default_rng(0).normal(size=both.parameters)
    start, end = np.split(theta, [first.parameters])
    np.testing.assert_allclose(dense(both, theta), dense(second, end) @ dense(first, start), rtol=0, atol=1e-13)


def test_bound(dense, random_circuit):
    """The circuit with its angles put in is the same unitary and has nothing to learn."""
    circuit = random_circuit(3, 60)
    theta = np.random.default_rng(0).normal(size=circuit.parameters)
    bound = circuit.bound(theta)
    assert bound.parameters == 0
    assert [(g.name, g.wires) for g in bound.gates] == [(g.name, g.wires) for g in circuit.gates]
    assert [g.angle for g in bound.gates] == [g.at(theta) for g in circuit.gates]
    assert all(g.parameter is None and type(g.angle) is float for g in bound.gates)
    np.testing.assert_array_equal(dense(bound), dense(circuit, theta))


@pytest.mark.parametrize("seed", range(5))
def test_depth(seed, random_circuit):
    """The longest chain of gates of which each shares a wire with the next, counted out over all pairs of gates."""
    circuit = random_circuit(5, 40, seed)
    longest: list[int] = []
    for i, gate in enumerate(circuit.gates):
        before = (longest[j] for j in range(i) if set(circuit.gates[j].wires) & set(gate.wires))
        longest.append(1 + max(before, default=0))
    assert circuit.depth == max(longest)


def test_depth_by_hand():
    """No gates, a layer, a staircase, and two wires that never meet."""
    assert Circuit(3, ()).depth == 0
    assert Circuit(3, tuple(Gate("h", (w,)) for w in range(3))).depth == 1
    assert Circuit(4, (Gate("h", (0,)), *(Gate("cx", pair) for pair in pairwise(range(4))))).depth == 4
    assert Circuit(2, (Gate("h", (0,)), Gate("x", (0,)), Gate("h", (1,)))).depth == 2


@pytest.mark.parametrize("name", EVERY)
def test_simple(name, dense):
    """Fewer kinds of gates make the same unitary, its global phase included, and the same use of the parameters."""
    gate = Gate(name, on(name), 0.4, 1, -1.7) if name in ANGLED else Gate(name, on(name))
    made = Circuit(3, tuple(simple([gate])))
    assert {g.name for g in made.gates} <= {*SINGLE, "cx", "swap", "cz", "cp", "rzz", "multirz"}
    theta = np.array([5.0, 0.9])
    np.testing.assert_allclose(dense(made, theta), dense(Circuit(3, (gate,)), theta), rtol=0, atol=1e-15)


# ---- circuits with names


@pytest.mark.parametrize(
    ("wires", "entangler", "layer", "want"),
    [
        (4, "ring", 0, [(0, 1), (1, 2), (2, 3), (3, 0)]),
        (3, "ring", 5, [(0, 1), (1, 2), (2, 0)]),
        (2, "ring", 0, [(0, 1)]),  # not twice the same pair
        (4, "line", 1, [(0, 1), (1, 2), (2, 3)]),
        (5, "brick", 0, [(0, 1), (2, 3)]),
        (5, "brick", 1, [(1, 2), (3, 4)]),
        (5, "brick", 2, [(0, 1), (2, 3)]),
        (2, "brick", 1, []),
        (4, "all", 3, [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]),
        *((1, entangler, 0, []) for entangler in ("ring", "line", "brick", "all")),
    ],
)
def test_pairs(wires, entangler, layer, want):
    """Which wires are joined, one by one."""
    assert pairs(wires, entangler, layer) == want


def test_refused_pairs():
    """An entangler that does not exist is refused, also by the circuits that use it."""
    message = "entangler is ring, line, brick or all, not 'star'"
    for make in (
        lambda: pairs(3, "star"),
        lambda: hardware_efficient(3, entangler="star"),
        lambda: qaoa(3, entangler="star"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def joined(wires: int, entangler: str, layers: int) -> int:
    """How many pairs all layers join, by closed form."""
    if entangler == "brick":
        return sum((wires - layer % 2) // 2 for layer in range(layers))
    return (
        layers * {"ring": wires if wires > 2 else wires - 1, "line": wires - 1, "all": math.comb(wires, 2)}[entangler]
    )


def every_parameter_once(circuit: Circuit) -> bool:
    """Whether the angles are numbered 0, 1, 2... in the order of the gates, and no other gate has an angle."""
    numbers = [g.parameter for g in circuit.gates if g.name in ANGLED]
    plain = all(g.angle == 0 and g.scale == 1 for g in circuit.gates)
    return plain and numbers == list(range(circuit.parameters))


@pytest.mark.parametrize("gate", ["rzz", "cz", "cx", "cp", "crz", "rxx", "ryy"])
@pytest.mark.parametrize("entangler", ["ring", "line", "brick", "all"])
@pytest.mark.parametrize(("wires", "depth"), [(1, 2), (2, 3), (5, 0), (5, 1), (6, 4)])
def test_hardware_efficient(wires, depth, entangler, gate):
    """(depth + 1) layers of the rotations, and an entangler for each pair of a layer but the last."""
    circuit = hardware_efficient(wires, depth=depth, rotations=("rx", "ry", "rz"), entangler=entangler, gate=gate)
    count = joined(wires, entangler, depth)
    assert circuit.parameters == 3 * wires * (depth + 1) + count * (gate in ANGLED)
    assert [g.wires for g in circuit.gates if g.name == gate] == [
        pair for layer in range(depth) for pair in pairs(wires, entangler, layer)
    ]
    layer = [(name, (w,)) for w in range(wires) for name in ("rx", "ry", "rz")]
    assert [(g.name, g.wires) for g in circuit.gates if g.name != gate] == layer * (depth + 1)
    assert [(g.name, g.wires) for g in circuit.gates[-3 * wires :]] == layer
    assert every_parameter_once(circuit)


def test_hardware_efficient_defaults():
    """Three layers of ry, rz and rzz on all pairs; a depth below zero and unknown gates are refused."""
    circuit = hardware_efficient(4)
    assert circuit.parameters == 2 * 4 * 4 + 3 * 6
    assert {g.name for g in circuit.gates} == {"ry", "rz", "rzz"}
    with pytest.raises(ValueError, match="depth must not be negative, but is -1"):
        hardware_efficient(3, depth=-1)
    with pytest.raises(ValueError, match="unknown gate rw"):
        hardware_efficient(3, rotations=("rw",))
    with pytest.raises(ValueError, match="gate h on wires .* acts on 1 wire"):
        hardware_efficient(3, gate="h")


@pytest.mark.parametrize("reach", [None, 0, 1, 2, 9])
@pytest.mark.parametrize(("wires", "order"), [(1, 1), (4, 1), (5, 2), (5, 3), (6, 6)])
def test_generators(wires, order, reach):
    """All sets of at most `order` wires that span at most `reach`, picked out of all bit strings; small sets first."""
    sets = (tuple(w for w in range(wires) if mask >> w & 1) for mask in range(1, 2**wires))
    fit = [s for s in sets if len(s) <= order and (reach is None or max(s) - min(s) <= reach)]
    assert generators(wires, order, reach) == sorted(fit, key=lambda s: (len(s), s))


@pytest.mark.parametrize(("order", "wires"), [(0, 3), (-1, 3), (4, 3), (2, 1)])
def test_refused_order(order, wires):
    """Sets of no wires, or of more than there are."""
    with pytest.raises(ValueError, match=f"order must lie between 1 and the number of wires {wires}, not {order}"):
        iqp(wires, order=order)


@pytest.mark.parametrize(("wires", "order"), [(1, 1), (4, 2), (5, 3), (5, 5)])
def test_iqp(wires, order):
    """H, one Z rotation a set, H: sum of binomials parameters, and only Z rotations in between."""
    circuit = iqp(wires, order=order)
    assert circuit.parameters == sum(math.comb(wires, k) for k in range(1, order + 1))
    walls = [Gate("h", (w,)) for w in range(wires)]
    assert list(circuit.gates[:wires]) == list(circuit.gates[-wires:]) == walls
    between = circuit.gates[wires:-wires]
    assert [g.wires for g in between] == generators(wires, order)
    assert [g.name for g in between] == [{1: "rz", 2: "rzz"}.get(len(g.wires), "multirz") for g in between]
    assert every_parameter_once(circuit)


def test_iqp_reach():
    """With order 2 and reach r, each wire is joined with the next r."""
    assert iqp(7).parameters == 7 + 21
    assert iqp(7, reach=2).parameters == 7 + 6 + 5
    assert iqp(7, order=3, reach=2).parameters == 7 + 6 + 5 + 5


@pytest.mark.parametrize("entangler", ["ring", "line", "brick", "all"])
@pytest.mark.parametrize(("wires", "depth"), [(1, 2), (2, 3), (5, 0), (5, 4)])
def test_qaoa(wires, depth, entangler):
    """H on all wires, then `depth` layers of rz, rzz and rx with an angle each."""
    circuit = qaoa(wires, depth=depth, entangler=entangler)
    assert circuit.parameters == 2 * wires * depth + joined(wires, entangler, depth)
    want = [("h", (w,)) for w in range(wires)]
    for layer in range(depth):
        want += [("rz", (w,)) for w in range(wires)]
        want += [("rzz", pair) for pair in pairs(wires, entangler, layer)]
        want += [("rx", (w,)) for w in range(wires)]
    assert [(g.name, g.wires) for g in circuit.gates] == want
    assert every_parameter_once(circuit)


@pytest.mark.parametrize(("wires", "depth"), [(2, 1), (5, 1), (4, 3)])
def test_matrix_product(wires, depth):
    """15 angles for each pair of neighbours, one staircase after another."""
    circuit = matrix_product(wires, depth=depth)
    assert circuit.parameters == len(circuit.gates) == 15 * (wires - 1) * depth
    assert [g.wires for g in circuit.gates if g.name == "rxx"] == [(w, w + 1) for w in range(wires - 1)] * depth
    assert {g.name for g in circuit.gates} == {"rz", "ry", "rxx", "ryy", "rzz"}
    assert every_parameter_once(circuit)
    assert matrix_product(1).parameters == 3


def test_matrix_product_is_general(dense):
    """Its 15 angles reach in every direction of SU(4): at random angles the tangents have rank 15."""
    circuit, step = matrix_product(2), 1e-5
    theta = np.random.default_rng(0).uniform(-3, 3, circuit.parameters)
    tangents = []
    for shift in step * np.eye(15):
        slope = (dense(circuit, theta + shift) - dense(circuit, theta - shift)) / (2 * step)
        tangents.append(np.concatenate([slope.real.ravel(), slope.imag.ravel()]))
    assert np.linalg.matrix_rank(np.array(tangents), tol=1e-3) == 15


# ---- circuits written as words


def test_listed():
    """Each form: no angle, learned, fixed, shared, with spaces or commas between the wires."""
    words = ["h 0", " ry  1 ", "cx 0 1", "rz(0.5) 2", "rx( -1.5e-3 ) 0", "p(+2) 1", "multirz 2,0 , 1", "swap 1,2"]
    want = [
        Gate("h", (0,)),
        Gate("ry", (1,), parameter=0),
        Gate("cx", (0, 1)),
        Gate("rz", (2,), 0.5),
        Gate("rx", (0,), -1.5e-3),
        Gate("p", (1,), 2.0),
        Gate("multirz", (2, 0, 1), parameter=1),
        Gate("swap", (1, 2)),
    ]
    assert listed(3, gates=words) == Circuit(3, tuple(want))
    assert listed(2, gates=[]) == Circuit(2, ())


def test_listed_wires_of_two_digits():
    """Wire 11 is not wires 1 and 1."""
    assert listed(12, gates=["cx 11 10"]).gates == (Gate("cx", (11, 10)),)


def test_listed_shared():
    """Numbered angles keep their numbers, wherever they stand; the others get those after the highest."""
    circuit = listed(2, gates=["ry 0", "rzz[3] 0 1", "rx[0] 1", "rz[3] 0", "ry 1"])
    assert [g.parameter for g in circuit.gates] == [4, 3, 0, 3, 5]
    assert circuit.parameters == 6
    assert all(g.angle == 0 and g.scale == 1 for g in circuit.gates)


@pytest.mark.parametrize(
    "word",
    [
        "",
        "rx",
        "0",
        "rx0",
        "RX 0",
        "rx 0.5",
        "rx -1",
        "rx 0;1",
        "rx 0 # first",
        "rx(0.5)0",
        "rx(pi) 0",
        "rx() 0",
        "rx[] 0",
        "rx[-1] 0",
        "rx[1.5] 0",
        "rx[a] 0",
        "rx(0.5)[1] 0",
        "rx[1](0.5) 0",
        # numbers that look like numbers to a careless pattern
        "rx(1e) 0",
        "rx(--) 0",
        "rx(1.2.3) 0",
        "ry ,",
        "ry , 0",
        "ry 0,",
        "ry  ",
    ],
)
def test_refused_words(word):
    """What is not of the three forms is refused, and the message quotes it."""
    message = f"the gate {word!r} is not of the form 'name wire', 'name(angle) wire' or 'name[3] wire'"
    with pytest.raises(ValueError, match=re.escape(message)):
        listed(3, gates=["h 0", word])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("foo 0", r"unknown gate foo on wires \[0\]"),
        ("rx 3", r"gate rx on wires \[3\]: the wires of this circuit are 0 to 2"),
        ("cx 1 1", "a wire is named twice"),
        ("cx 1", "it acts on 2 wires"),
        ("h 0 1", "it acts on 1 wire"),
        ("x(0.5) 0", "gate x on wires .* has no angle"),
        ("h[3] 0", "has no angle to share"),
    ],
)
def test_refused_gates(word, message):
    """Words of the right form for gates that do not exist or do not fit."""
    with pytest.raises(ValueError, match=message):
        listed(3, gates=[word])
