"""OpenQASM: circuits come back as they were, others' texts mean what their authors meant, and the rest is refused."""

import cmath
import math
import re
import sys

import pytest
import torch

from genzoo.errors import UserError
from genzoo_born import qasm
from genzoo_born.ansatz import hardware_efficient, iqp, listed
from genzoo_born.circuit import ANGLED, PAIRS, SINGLE, Circuit, Gate
from genzoo_born.simulator import Simulator

HEAD = "OPENQASM 3.0;\nqubit[3] q;\n"
"""Two lines, so that what follows begins on line 3."""


def zoo() -> Circuit:
    """Every gate there is but multirz, on a state that tells them apart: new, shared, scaled, shifted and fixed angles,
    and a parameter that no gate uses."""
    made = [Gate("h", (0,)), Gate("ry", (1,), 0.7), Gate("rx", (2,), 1.1), Gate("rzz", (0, 2), parameter=4)]
    for i, name in enumerate(sorted({*SINGLE, *PAIRS})):
        wires = (i % 3,) if name in SINGLE else (i % 3, (i + 1 + i % 2) % 3)
        kinds = ((0.0, i % 4, 1.0), (0.1 + i, 5, -0.5), (-1 / 3, 1, -1.0), (1e-5, None, 1.0), (0.0, 6, 1.0))
        made += [Gate(name, wires, *kind) for kind in kinds] if name in ANGLED else [Gate(name, wires)]
    return Circuit(3, tuple(made))


EXTREME = Circuit(
    1, (Gate("rx", (0,), 5e-324, 0, -1e22), Gate("ry", (0,), -1.7e308, 1, 1e-300), Gate("p", (0,), 0.1 + 0.2))
)
"""Numbers whose digits are easily lost."""


def angles(circuit: Circuit) -> torch.Tensor:
    """Random angles."""
    return torch.randn(circuit.parameters, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def state(circuit: Circuit, theta=()) -> torch.Tensor:
    """The final state, in 64 bits."""
    theta = torch.as_tensor(theta, dtype=torch.float64)
    if not len(theta):  # a gate that does nothing, so that there is an angle
        circuit, theta = circuit.then(Circuit(circuit.wires, (Gate("rx", (0,), parameter=0),))), theta.new_zeros(1)
    return Simulator(circuit, double=True)(theta).to(torch.complex128)


def agree(a: torch.Tensor, b: torch.Tensor, *, phase: bool = False) -> None:
    """Asserts that two states are the same, with phase=True but for a global phase."""
    if phase:
        b = b * cmath.exp(-1j * cmath.phase(complex(torch.vdot(a, b))))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def read(body: str) -> list[Gate]:
    """The gates of some lines on the register q[3]."""
    return list(qasm.from_qasm(HEAD + body)[0].gates)


# ---- our own texts


@pytest.mark.parametrize("circuit", [zoo(), hardware_efficient(4), iqp(5, order=2), EXTREME, Circuit(2, ())])
def test_round_trip(circuit):
    """Learned angles stay learned, with all digits of their scales and offsets, and start at zero."""
    again, start = qasm.from_qasm(qasm.to_qasm(circuit))
    assert again == circuit
    assert start == [0.0] * circuit.parameters


def test_round_trip_of_numbers():
    """With angles given, the same float64 come back, from tensors too."""
    circuit = zoo()
    theta = angles(circuit)
    again, start = qasm.from_qasm(qasm.to_qasm(circuit, theta))
    assert again == circuit.bound(theta)
    assert start == []


def test_the_text():
    """What is written, word for word."""
    circuit = Circuit(2, (Gate("h", (0,)), Gate("rzz", (1, 0), 0.1, 0, 0.5), Gate("rx", (1,), -2.0)))
    assert qasm.to_qasm(circuit) == (
        "OPENQASM 3.0;\n"
        'include "stdgates.inc";\n'
        "gate rzz(theta) a, b { cx a, b; rz(theta) b; cx a, b; }\n"
        "input float[64] theta_0;\n"
        "qubit[2] q;\n"
        "bit[2] c;\n"
        "h q[0];\n"
        "rzz(0.5*theta_0+0.1) q[1], q[0];\n"
        "rx(-2.0) q[1];\n"
        "c = measure q;\n"
    )
    assert "rzz(0.6) q[1], q[0];" in qasm.to_qasm(circuit, [1.0])
    assert "input" not in qasm.to_qasm(circuit, [1.0])


def test_definitions_are_true():
    """The definitions that are written beside the gates are those gates: under other names they give the same state."""
    circuit = zoo()
    text = re.sub(r"\br(xx|yy|zz)\b", r"mine_\1", qasm.to_qasm(circuit))
    expanded, _ = qasm.from_qasm(text)
    assert not {"rxx", "ryy", "rzz"} & {g.name for g in expanded.gates}
    agree(state(circuit, angles(circuit)), state(expanded, angles(circuit)))


def test_multirz():
    """Z rotations on many wires become chains that do the same."""
    circuit = listed(4, gates=[*(f"ry({0.3 * i + 0.2}) {i}" for i in range(4)), "multirz 2 0 3", "multirz 1", "rx 0"])
    circuit = circuit.then(iqp(4, order=4))
    again, _ = qasm.from_qasm(qasm.to_qasm(circuit))
    assert "multirz" not in {g.name for g in again.gates}
    agree(state(circuit, angles(circuit)), state(again, angles(circuit)))


def test_writing_refuses():
    """Angles that do not fit, and those that have no digits."""
    with pytest.raises(ValueError, match="this circuit has 7 learned angles, not 2"):
        qasm.to_qasm(zoo(), [0.0, 1.0])
    with pytest.raises(ValueError, match=r"gate rz on wires \[0\]: its angle is not a finite number"):
        qasm.to_qasm(listed(1, gates=["rz 0"]), [math.nan])


# ---- others' texts


def test_version_2():
    """OpenQASM 2: registers one after the other, whole registers, comments, statements over several lines."""
    circuit, start = qasm.from_qasm(
        """// from elsewhere; with; semicolons
        OPENQASM 2.0; include "qelib1.inc";
        qreg a[2]; qreg b[2];
        creg c[4];
        h a; /* two
        lines */ cx a,b; cx a[1], b;
        barrier a, b[0];
        rzz(pi / 2)
            a[0],
            b[1];
        CX b[0],a[0]; u1(0.5) b[1]; cu1(-pi) a[0],b[0];
        measure a -> c;
        measure b[1] -> c[3];
        z b[0];"""
    )
    assert circuit.wires == 4
    assert start == []
    assert list(circuit.gates) == [
        *(Gate("h", (0,)), Gate("h", (1,)), Gate("cx", (0, 2)), Gate("cx", (1, 3)), Gate("cx", (1, 2))),
        *(Gate("cx", (1, 3)), Gate("rzz", (0, 3), math.pi / 2), Gate("cx", (2, 0)), Gate("p", (3,), 0.5)),
        *(Gate("cp", (0, 2), -math.pi), Gate("z", (2,))),
    ]


def test_version_3():
    """OpenQASM 3: single qubits, bits that are declared where they are measured, global phases; no version at all."""
    circuit, start = qasm.from_qasm(
        "qubit a; qubit [2] b; input float[32] β; input float unused; gphase(pi/4); phase(β) a;\n"
        "cphase(2*pi) a, b; sx b[1]; bit[2] r = measure b; bit s; s = measure a; barrier;"
    )
    assert circuit == Circuit(
        3, (Gate("p", (0,), 0.0, 0), Gate("cp", (0, 1), math.tau), Gate("cp", (0, 2), math.tau), Gate("sx", (2,)))
    )
    assert start == [0.0]


def test_wires():
    """The first qubit declared is wire 0, the most significant bit."""
    circuit, _ = qasm.from_qasm("qubit a; qubit[2] b; x b[0];")
    assert state(circuit).abs().tolist() == [0, 0, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("call", ["U(0.3, 1.1, -0.4)", "u(0.3, 1.1, -0.4)", "u3(0.3,1.1,-0.4)", "u2(1.1,-0.4)"])
def test_u_family(call):
    """The matrix of the specification, up to its global phase."""
    theta, phi, lam = math.pi / 2 if "u2" in call else 0.3, 1.1, -0.4
    u = torch.tensor(
        [
            [math.cos(theta / 2), -cmath.exp(1j * lam) * math.sin(theta / 2)],
            [cmath.exp(1j * phi) * math.sin(theta / 2), cmath.exp(1j * (phi + lam)) * math.cos(theta / 2)],
        ],
        dtype=torch.complex128,
    )
    before, _ = qasm.from_qasm("qubit q; ry(0.9) q; rz(0.2) q;")
    after, _ = qasm.from_qasm(f"qubit q; ry(0.9) q; rz(0.2) q; {call} q;")
    agree(u @ state(before), state(after), phase=True)


def test_own_definitions():
    """Gates that a text defines are put in their places: nested, with Python's words for names, with spare angles."""
    body = """
    gate turn(lambda, θ) a { rz(lambda/2 - θ) a; }
    gate both(if, unused) x, y
    {
        turn(-if, pi) y;
        barrier x, y;
        cx y, x; // and
        gphase(1);
    }
    gate empty a {}
    input float[64] in;
    both(2*in + 0.5, 7) q[2], q[0]; empty q; h q[1];
    """
    assert read(body) == [Gate("rz", (0,), -0.25 - math.pi, 0, -1.0), Gate("cx", (0, 2)), Gate("h", (1,))]


def test_redefinition():
    """A gate that a text defines for itself is what the text says, not what we call so."""
    gates = read("gate rzz(t) a, b { cx a, b; rz(2*t) b; cx a, b; } rzz(0.5) q[0], q[1];")
    assert gates == [Gate("cx", (0, 1)), Gate("rz", (1,), 1.0), Gate("cx", (0, 1))]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("pi", math.pi),
        ("π/2", math.pi / 2),
        ("-pi/4", -math.pi / 4),
        ("3*pi/4 - .5", 3 * math.pi / 4 - 0.5),
        ("-2**2", -4.0),
        ("2**-1*(1 + +3)", 2.0),
        ("1/2", 0.5),
        ("1.e-3", 0.001),
        ("1E5", 1e5),
        ("(-8)**3", -512.0),
        ("\n1\n", 1.0),
    ],
)
def test_arithmetic(text, value):
    """Fixed angles are worked out."""
    assert read(f"rx({text}) q[0];") == [Gate("rx", (0,), value)]


@pytest.mark.parametrize(
    ("text", "angle", "scale"),
    [
        ("b", 0.0, 1.0),
        ("-b", 0.0, -1.0),
        ("0.5*b+0.1", 0.1, 0.5),
        ("b*0.1", 0.0, 0.1),
        ("pi - 2*(b - 1)/4", math.pi + 0.5, -0.5),
        ("b + b", 0.0, 2.0),
    ],
)
def test_affine(text, angle, scale):
    """Angles affine in one input are learned; inputs are numbered as they are declared."""
    assert read(f"input float a; input angle[32] b; rx({text}) q[0];") == [Gate("rx", (0,), angle, 1, scale)]


# ---- what is refused


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("ccx q[0], q[1], q[2];", "line 3: ccx is not supported"),
        ("x q[0];\n\nif (c == 1) x q[0];", "line 5: if is not supported"),
        ("while (true) { if (a) { x q; } }", "line 3: while is not supported"),
        ("/* one\ntwo */ reset q;", "line 4: reset is not supported"),
        ("ctrl @ x q[0], q[1];", "line 3: ctrl is not supported"),
        ("multirz(1) q[0], q[1];", "line 3: multirz is not supported"),
        ("x p;", "line 3: unknown register p; there are: q"),
        ("x q[3];", "line 3: q[3] is out of range: q has the places 0 to 2"),
        ("x q[-1];", "line 3: cannot read 'x q[-1]'"),
        ("x q[0] q[1];", "line 3: expected a register or a place in it, such as q or q[2], not 'q[0] q[1]'"),
        ("x;", "line 3: expected a register"),
        ("cx q[1], q[1];", "line 3: gate cx on wires [1, 1]: a wire is named twice"),
        ("cx q[1];", "line 3: gate cx on wires [1]: it acts on 2 wires"),
        ("qubit[2] r;\ncx q, r;", "line 4: gate cx is applied to registers of different sizes"),
        ("rx q[0];", "line 3: gate rx takes 1 angle, not 0"),
        ("h(1) q[0];", "line 3: gate h takes 0 angles, not 1"),
        ("u3(1, 2) q[0];", "line 3: gate u3 takes 3 angles, not 2"),
        ("measure q[0];\nx q[1];\ncx q[1], q[0];", "line 5: gate cx after a measurement is not supported"),
        ("measure p;", "line 3: unknown register p"),
        ("bit[2] c;\nc[2] = measure q[0];", "line 4: c[2] is out of range"),
        ("measure q -> c;", "line 3: unknown register c; there are: none"),
        ("qreg q[2];", "line 3: q is declared twice"),
        ("input float q;", "line 3: q is declared twice"),
        ("qubit[0] r;", "line 3: register r is empty"),
        ("qubit[n] r;", "line 3: cannot read 'qubit[n] r'"),
        ("input int n;", "line 3: cannot read 'input int n'"),
        ("OPENQASM 4.0;", "line 3: OpenQASM 4 is not supported"),
        ('include "mine.inc";', 'line 3: include "mine.inc" is not supported'),
        ("x q[0]", "line 3: 'x q[0]' does not end with ;"),
        ("}", "line 3: cannot read '}'"),
        ("gate foo a { { x a; } }", "line 3: cannot read"),
        ("gate foo a { foo a; }\nfoo q[0];", "line 4: in gate foo, line 3: foo is not supported"),
        (
            "gate foo(t) a, b {\n rx(s) b; }\nfoo(1) q[0], q[1];",
            "line 5: in gate foo, line 4: unknown name s in an angle",
        ),
        ("gate foo a, b { x a; }\nfoo q[0], q[0];", "line 4: gate foo needs 2 different qubits"),
        ("gate foo(t) a { x a; }\nfoo q[0];", "line 4: gate foo takes 1 angle, not 0"),
        ("rx(sin(1)) q[0];", "line 3: 'sin(1)' is not supported in an angle"),
        ("rx(__import__('os')) q[0];", "line 3: \"__import__('os')\" is not supported in an angle"),
        ("rx(pi.real) q[0];", "line 3: 'pi.real' is not supported in an angle"),
        ("rx('a') q[0];", "line 3: \"'a'\" is not supported in an angle"),
        ("rx(2 ^ 3) q[0];", "line 3: '2 ^ 3' is not supported in an angle"),
        ("rx(1j) q[0];", "line 3: '1j' is not supported in an angle"),
        ("rx(alpha) q[0];", "line 3: unknown name alpha in an angle; there are: pi"),
        ("rx(1 +) q[0];", "line 3: cannot read the angle '1 +'"),
        ("rx(1) + (2) q[0];", "line 3: cannot read the angle '1) + (2'"),
        ("rx(1/0) q[0];", "line 3: the angle '1/0' has no finite value"),
        ("rx(9.**9**9**9) q[0];", "line 3: the angle '9.**9**9**9' has no finite value"),
        ("rx(1e999) q[0];", "line 3: an angle is not finite"),
        ("rx((-2)**0.5) q[0];", "line 3: '(-2) ** 0.5' is not supported in an angle"),
        ("rx(" + "-" * 2000 + "1) q[0];", "line 3: angles of more than 1000 characters"),
        ("input float a; input float b;\nrx(a + b) q[0];", "line 4: an angle of more than one input is not supported"),
        ("input float a;\nrx(a*a) q[0];", "line 4: 'a * a' is not supported in an angle"),
        ("input float a;\nrx(1/a) q[0];", "line 4: '1 / a' is not supported in an angle"),
        ("input float a;\nrx(2**a) q[0];", "line 4: '2 ** a' is not supported in an angle"),
    ],
)
def test_refused(body, message):
    """One line that names the line and what is wrong there."""
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        qasm.from_qasm(HEAD + body)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "OPENQASM 3.0;\n// nothing", "bit[2] c;"])
def test_no_qubits(text):
    """A text without qubits is no circuit."""
    with pytest.raises(ValueError, match="declares no qubits"):
        qasm.from_qasm(text)


# ---- configurations


def test_configuration(tmp_path, capsys):
    """What the command prints builds the same circuit."""
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    circuit = listed(3, gates=["h 0", "rx[2] 1", "rz(-1e-05) 2", "rzz[0] 0 2", "ry[2] 0", "cp(0.25) 2 1", "sdg 1"])
    file = tmp_path / "mine.qasm"
    file.write_text(qasm.to_qasm(circuit), encoding="utf-8")
    assert qasm.main([str(file)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# mine.qasm, as genzoo_born.qasm read it\n_target_: genzoo_born.BornMachine\n")
    config = OmegaConf.create(printed)
    assert list(config) == ["_target_", "_partial_", "circuit"]
    assert instantiate(config.circuit)(3) == circuit


def test_empty_configuration():
    """No gates are a list too."""
    assert qasm.to_yaml(Circuit(1, ()), "a").endswith("  gates: []\n")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("input float a; rx(2*a) q[0];", r"gate rx on wires \[0\] has the angle 2.0\*theta_0"),
        ("input float a; rx(a + 1) q[0];", r"gate rx on wires \[0\] has the angle theta_0\+1.0"),
        ("measure", "line 3: 'measure' does not end"),
    ],
)
def test_configuration_refuses(tmp_path, capsys, body, message):
    """A configuration has no scales and offsets; every mistake is one line and status 2."""
    (tmp_path / "a.qasm").write_text(HEAD + body, encoding="utf-8")
    assert qasm.main([str(tmp_path / "a.qasm")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.match(rf"genzoo_born\.qasm: {message}.*\n\Z", said.err)


@pytest.mark.parametrize("words", [[], ["a", "b"], ["/nowhere/a.qasm"]])
def test_command_refuses(capsys, words):
    """No file, too many, one that is not there."""
    assert qasm.main(words) == 2
    assert capsys.readouterr().err.startswith("genzoo_born.qasm: ")


# ---- PennyLane


@pytest.fixture
def qml():
    """PennyLane, where it is installed."""
    return pytest.importorskip("pennylane", reason="PennyLane is not installed")


@pytest.mark.filterwarnings("ignore")
def test_to_pennylane(qml):
    """The same state by PennyLane's gates."""
    circuit = zoo()
    circuit = circuit.then(listed(3, gates=["multirz 2 0 1", "multirz 1", "h 0", "rx 1"]))
    theta = angles(circuit)

    @qml.qnode(qml.device("default.qubit", wires=3))
    def run():
        qasm.to_pennylane(circuit, theta.numpy())
        return qml.state()

    agree(state(circuit, theta), torch.as_tensor(run(), dtype=torch.complex128))


@pytest.mark.filterwarnings("ignore")
def test_pennylane_gradients(qml):
    """PennyLane's gradient by a shared, scaled angle: d/dt cos(2 t + 0.1 + t)."""

    @qml.qnode(qml.device("default.qubit", wires=1))
    def run(theta):
        qasm.to_pennylane(Circuit(1, (Gate("ry", (0,), 0.1, 0, 2.0), Gate("ry", (0,), parameter=0))), theta)
        return qml.expval(qml.PauliZ(0))

    theta = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    run(theta).backward()
    assert theta.grad.item() == pytest.approx(-3 * math.sin(1.0), abs=1e-10)


@pytest.mark.filterwarnings("ignore")
def test_pennylane_texts(qml):
    """What PennyLane writes as OpenQASM 2 is read as what it means, up to a global phase."""

    def gates():
        for i, name in enumerate(["RX", "RY", "RZ", "PhaseShift", "U1"]):
            getattr(qml, name)(0.4 + i, wires=i % 3)
        qml.U2(0.3, -0.8, wires=1)
        qml.U3(0.3, -0.8, 1.3, wires=2)
        qml.CRX(0.9, wires=[2, 0])
        qml.CSWAP(wires=[0, 1, 2])
        qml.IsingXX(0.7, wires=[0, 2])
        qml.ControlledPhaseShift(-0.7, wires=[1, 2])

    @qml.qnode(qml.device("default.qubit", wires=3))
    def run():
        gates()
        return qml.state()

    text = qml.to_openqasm(run)()
    if "cswap" in text:
        text = text.replace("qreg", "gate cswap a, b, c { cx c, b; ccx a, b, c; cx c, b; } qreg", 1)
        toffoli = (
            "h c; cx b, c; tdg c; cx a, c; t c; cx b, c; tdg c; cx a, c; t b; t c; h c; cx a, b; t a; tdg b; cx a, b;"
        )
        text = text.replace("gate cswap", f"gate ccx a, b, c {{ {toffoli} }} gate cswap", 1)
    agree(torch.as_tensor(run(), dtype=torch.complex128), state(qasm.from_qasm(text)[0]), phase=True)


@pytest.mark.filterwarnings("ignore")
def test_pennylane_reads(qml):
    """PennyLane's own reader of OpenQASM 3 makes the same state of our text, up to a global phase.

    It (0.45) knows no `include`, and loses the qubits of gates that a text defines, so both are left out.
    """
    pytest.importorskip("openqasm3", reason="PennyLane reads OpenQASM 3 by openqasm3[parser], which is not installed")
    circuit = Circuit(3, tuple(g for g in zoo().gates if g.name not in qasm.DEFINITIONS))
    theta = angles(circuit)
    text = qasm.to_qasm(circuit, theta).replace('include "stdgates.inc";', "").partition("c = measure")[0]

    @qml.qnode(qml.device("default.qubit", wires=[f"q[{i}]" for i in range(3)]))
    def run():
        qml.from_qasm3(text)()
        return qml.state()

    agree(state(circuit, theta), torch.as_tensor(run(), dtype=torch.complex128), phase=True)


def test_without_pennylane(monkeypatch):
    """The one line that says what to install."""
    monkeypatch.setitem(sys.modules, "pennylane", None)
    with pytest.raises(UserError, match="pip install pennylane"):
        qasm.to_pennylane(Circuit(1, ()), [])
