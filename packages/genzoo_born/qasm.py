"""Circuits as OpenQASM text, from it, and as PennyLane operations.

Angles are in radians; wires are the qubits in the order of their declaration.

`python -m genzoo_born.qasm FILE.qasm` prints a model's configuration with the circuit of the file.
"""

import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from genzoo.errors import UserError
from genzoo.reading import judge, printable, reading
from genzoo_born.circuit import ANGLED, Circuit, Gate
from genzoo_born.qasm_reader import DEFINITIONS, MAX_MB, from_qasm

__all__ = ["from_qasm", "to_pennylane", "to_qasm", "to_yaml"]

PENNYLANE = """id=Identity x=PauliX y=PauliY z=PauliZ h=Hadamard s=S sdg=S t=T tdg=T sx=SX rx=RX ry=RY rz=RZ
p=PhaseShift cx=CNOT cy=CY cz=CZ ch=CH swap=SWAP cp=ControlledPhaseShift crx=CRX cry=CRY crz=CRZ rxx=IsingXX
ryy=IsingYY rzz=IsingZZ multirz=MultiRZ"""


def to_qasm(circuit: Circuit, theta: Sequence[float] | None = None) -> str:
    """The circuit as OpenQASM 3, measured at its end.

    theta: the learned angles in radians, written with all their digits. Without it they are inputs `theta_0`, `theta_1`
    and so on of the text. A `multirz` is written as a chain of `cx` around an `rz`.
    """
    if theta is not None:
        check_count(circuit, theta)
        circuit = circuit.bound(theta)
    used = {gate.name for gate in circuit.gates}
    lines = ["OPENQASM 3.0;", 'include "stdgates.inc";']
    lines += [text for name, text in DEFINITIONS.items() if name in used]
    lines += [f"input float[64] theta_{i};" for i in range(circuit.parameters)]
    lines += [f"qubit[{circuit.wires}] q;", f"bit[{circuit.wires}] c;"]
    for gate in circuit.gates:
        lines += written(gate)
    return "\n".join([*lines, "c = measure q;", ""])


def check_count(circuit: Circuit, theta: Sequence[float]) -> None:
    """ValueError unless there is an angle for each parameter."""
    if len(theta) != circuit.parameters:
        raise ValueError(f"this circuit has {circuit.parameters} learned angles, not {len(theta)}")


def written(gate: Gate) -> list[str]:
    """The statements of a gate."""
    angle = f"({expression(gate)})" if gate.name in ANGLED else ""
    if gate.name == "multirz":
        chain = [f"cx q[{a}], q[{b}];" for a, b in pairwise(gate.wires)]
        return [*chain, f"rz{angle} q[{gate.wires[-1]}];", *reversed(chain)]
    return [f"{gate.name}{angle} {', '.join(f'q[{wire}]' for wire in gate.wires)};"]


def expression(gate: Gate) -> str:
    """A gate's angle, such as `0.5*theta_3+0.1`; reading it gives the same numbers."""
    angle, scale = float(gate.angle), float(gate.scale)
    if gate.parameter is None:
        return repr(angle)
    factor = {1.0: "", -1.0: "-"}.get(scale, f"{scale!r}*")
    return f"{factor}theta_{gate.parameter}{format(angle, '+') if angle else ''}"


def to_pennylane(circuit: Circuit, theta: Sequence[float]) -> None:
    """Applies the gates as PennyLane operations; call it inside a qnode. Gradients go through to `theta` (radians)."""
    try:
        import pennylane
    except ImportError as error:
        raise UserError("PennyLane is not installed: pip install pennylane") from error
    check_count(circuit, theta)
    names = dict(pair.split("=") for pair in PENNYLANE.split())
    for gate in circuit.gates:
        operation = getattr(pennylane, names[gate.name])
        if gate.name.endswith("dg"):
            operation = pennylane.adjoint(operation)
        angle = gate.angle if gate.parameter is None else gate.angle + gate.scale * theta[gate.parameter]
        operation(*[angle] * (gate.name in ANGLED), wires=list(gate.wires))


def to_yaml(circuit: Circuit, name: str) -> str:
    """A configuration of `configs/model/` for this circuit. name: of the file that it came from."""
    lines, name = [], name.encode("unicode_escape", "surrogatepass").decode()  # no line break can end the comment
    for gate in circuit.gates:
        if gate.parameter is not None and (gate.angle or gate.scale != 1):
            raise ValueError(
                f"gate {gate.name} on wires {list(gate.wires)} has the angle {expression(gate)}, and a configuration "
                "takes a number or an input as it is: read the file in Python with genzoo_born.qasm.from_qasm"
            )
        angle = f"({float(gate.angle)!r})" if gate.parameter is None else f"[{gate.parameter}]"
        lines.append(f'\n    - "{gate.name}{angle * (gate.name in ANGLED)} {" ".join(map(str, gate.wires))}"')
    return (
        f"# {name}, as genzoo_born.qasm read it\n_target_: genzoo_born.BornMachine\n_partial_: true\ncircuit:\n"
        f"  _target_: genzoo_born.ansatz.listed\n  _partial_: true\n  gates:{''.join(lines) or ' []'}\n"
    )


def main(words: Sequence[str]) -> int:
    """Prints the configuration; the exit status."""
    try:
        if len(words) != 1:
            raise ValueError("name one file: python -m genzoo_born.qasm FILE.qasm")
        with reading(words[0], "file") as file:
            judge(file.stat().st_size, MAX_MB, "the most")
            text = file.read_text(encoding="utf-8-sig")
        print(to_yaml(from_qasm(text)[0], Path(words[0]).name), end="")
    except ValueError as error:
        print(printable(f"genzoo_born.qasm: {error}"), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
