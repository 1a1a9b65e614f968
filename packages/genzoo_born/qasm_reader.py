"""OpenQASM text as circuits: what is read of it, and a line number for what is not.

Sources: OpenQASM 3 (Cross et al. 2022) with its stdgates.inc, OpenQASM 2 (Cross et al. 2017) with its qelib1.inc.
"""

import ast
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from genzoo.reading import printable, reason
from genzoo_born.circuit import ANGLED, PAIRS, SINGLE, Circuit, Gate

DEFINITIONS = {
    "rxx": "gate rxx(theta) a, b { h a; h b; cx a, b; rz(theta) b; cx a, b; h a; h b; }",
    "ryy": "gate ryy(theta) a, b { rx(pi/2) a; rx(pi/2) b; cx a, b; rz(theta) b; cx a, b; rx(-pi/2) a; rx(-pi/2) b; }",
    "rzz": "gate rzz(theta) a, b { cx a, b; rz(theta) b; cx a, b; }",
}
"""Gates of ours that stdgates.inc lacks; where a text defines them in these words, they are read as ours."""

ALIASES = {"CX": "cx", "phase": "p", "u1": "p", "cphase": "cp", "cu1": "cp"}
GATES = frozenset({*SINGLE, *PAIRS, *ALIASES, "u", "u2", "u3", "U"})
"""Gates that can be read without a definition."""

MOST_QUBITS = 1 << 12
MOST_STEPS = 50_000
"""Statements and gates, those of definitions counted each time that they are applied."""
LONGEST = 5000
"""Characters of a statement, without the body of a definition."""
LONGEST_ANGLES = 1000
"""Characters of the angles of a gate."""
MOST_DEFINITIONS = 1000
MAX_MB = 2.0
"""Of a text."""
NORMALISED = 18
"""Characters that one beyond ASCII can become where names are normalised."""

NAME, SIZE = r"([^\W\d]\w*)", r"\[\s*(\d+)\s*\]"
VERSION = re.compile(r"OPENQASM\s+(\d+)(?:\.\d+)?")
INCLUDE = re.compile(r"""include\s*["']([^"']*)["']""")
REGISTER = re.compile(rf"(qubit|bit)(?:\s*{SIZE}\s*|\s+){NAME}|(qreg|creg)\s+{NAME}\s*(?:{SIZE})?")
INPUT = re.compile(rf"input\s+(?:float|angle)(?:\s*{SIZE}\s*|\s+){NAME}")
DEFINITION = re.compile(rf"gate\s+{NAME}\s*(?:\(([^(){{]*)\))?([^(){{]*)\{{(.*)\}}", re.DOTALL)
MEASURE = re.compile(r"(?:([^=]+)=\s*)?measure\b([^=>]+?)(?:->(.+))?", re.DOTALL)
IGNORED = re.compile(r"barrier\b.*|gphase\s*\(.*\)", re.DOTALL)
APPLIED = re.compile(rf"{NAME}\s*(?:\((.*)\))?([\w\s,\[\]]*)", re.DOTALL)
HEADS = {"OPENQASM", "include", "qubit", "bit", "qreg", "creg", "input", "gate", "measure"}


def from_qasm(text: str) -> tuple[Circuit, list[float]]:
    """The circuit of an OpenQASM 3 or 2 text up to its global phase, and zeros to start its learned angles from.

    Read are registers, gates (those of `genzoo_born.circuit`, the `u` family, and what the text defines from them) and
    measurements at the end; barriers, and which bit takes which result, are not. An `input float` is a learned angle;
    the angle of a gate may be a number or a + b * input. Raises ValueError with the line of anything else.
    """
    size = len(text) + (NORMALISED - 1) * (len(text.encode()) - len(text))
    if size > 1e6 * MAX_MB:
        raise ValueError(f"the text has up to {size:,} characters, and at most {1e6 * MAX_MB:,.0f} are read")
    reader = Reader()
    for line, statement in statements(text):
        try:
            reader.read(line, statement)
        except Exception as error:
            said = error if isinstance(error, ValueError) else reason(error)
            raise ValueError(f"line {line}: {said}") from error
    if not reader.wires:
        raise ValueError("the text declares no qubits: it needs a line such as qubit[4] q;")
    circuit = Circuit(reader.wires, tuple(reader.gates))
    return circuit, [0.0] * circuit.parameters


class Affine(NamedTuple):
    """constant + sum of slopes[i] * input i, in radians."""

    constant: float
    slopes: dict[int, float]


class Scope(NamedTuple):
    """What names mean where a gate is applied."""

    qubits: Mapping[str, range]
    angles: Mapping[str, Affine]
    definitions: "Mapping[str, Definition]"


class Definition(NamedTuple):
    """A gate that the text defines. earlier: the definitions that its body may use."""

    angles: list[str]
    qubits: list[str]
    body: list[tuple[int, str]]
    earlier: "dict[str, Definition]"


class Reader:
    """Reads statement after statement."""

    def __init__(self) -> None:
        self.wires = 0
        self.bits: dict[str, range] = {}
        self.scope = Scope({}, {}, {})
        self.measured: set[int] = set()
        self.gates: list[Gate] = []
        self.steps = 0

    def step(self, count: int = 1) -> None:
        """Counts what is done: a few lines of definitions can stand for billions of gates."""
        self.steps += count
        if self.steps > MOST_STEPS:
            raise ValueError(f"more than {MOST_STEPS:,} statements and gates, those of definitions counted each time")

    def read(self, line: int, statement: str) -> None:
        """One statement, which begins on this line."""
        inputs = self.scope.angles
        self.step()
        if len(statement.partition("{")[0]) > LONGEST:
            raise ValueError(f"a statement of more than {LONGEST:,} characters: {shortened(statement[:100])}")
        if found := VERSION.fullmatch(statement):
            if found[1] not in ("2", "3"):
                raise ValueError(f"OpenQASM {found[1]} is not supported: write it in version 3 or 2")
        elif found := INCLUDE.fullmatch(statement):
            if found[1] not in ("stdgates.inc", "qelib1.inc"):
                raise ValueError(f'include "{printable(found[1][:60])}" is not supported: put its lines in its place')
        elif found := REGISTER.fullmatch(statement):
            self.declare(found)
        elif found := INPUT.fullmatch(statement):
            self.check_new(found[2])
            inputs[found[2]] = Affine(0.0, {len(inputs): 1.0})
        elif found := DEFINITION.fullmatch(statement):
            if " ".join(statement.split()) != DEFINITIONS.get(found[1]):
                self.define(found, line + statement[: found.start(4)].count("\n"))
        elif found := MEASURE.fullmatch(statement):
            self.measure(found)
        else:
            self.apply(statement, self.scope)

    def define(self, found: re.Match, line: int) -> None:
        """A gate, whose body begins on this line."""
        definitions = self.scope.definitions
        body = list(statements(found[4], line))
        names = [[n.strip() for n in (part or "").split(",") if n.strip()] for part in (found[2], found[3])]
        if len(definitions) >= MOST_DEFINITIONS:
            raise ValueError(f"more than {MOST_DEFINITIONS} gates are defined")
        definitions[found[1]] = Definition(*names, body, dict(definitions))

    def measure(self, found: re.Match) -> None:
        target = (found[1] or found[3] or "").strip()
        if declared := REGISTER.fullmatch(target):
            self.declare(declared)
        elif target:
            operand(target, self.bits)
        wires = operand(found[2], self.scope.qubits)
        self.step(len(wires))
        self.measured |= set(wires)

    def declare(self, found: re.Match) -> None:
        """A register."""
        kind, size, name = found.group(1, 2, 3) if found[1] else found.group(4, 6, 5)
        self.check_new(name)
        size = 1 if size is None else int(size) if len(size) < 10 else MOST_QUBITS + 1
        if not size:
            raise ValueError(f"register {name} is empty")
        if size + self.wires > MOST_QUBITS:
            raise ValueError(f"register {name}: at most {MOST_QUBITS} qubits or bits are read")
        if kind in ("bit", "creg"):
            self.bits[name] = range(size)
        else:
            self.scope.qubits[name] = range(self.wires, self.wires + size)
            self.wires += size

    def check_new(self, name: str) -> None:
        if name in self.bits or name in self.scope.qubits or name in self.scope.angles:
            raise ValueError(f"{name} is declared twice")

    def apply(self, statement: str, scope: Scope) -> None:
        """A gate; where it names whole registers, on each of their qubits."""
        self.step()
        if IGNORED.fullmatch(statement):
            return
        name, found = re.match(r"\w*", statement)[0], APPLIED.fullmatch(statement)
        if name and name not in GATES | HEADS and name not in scope.definitions:
            raise ValueError(
                f"{name[:60]} is not supported: only registers, inputs, measurements at the end, and the gates "
                f"{', '.join(sorted({*GATES, *scope.definitions}))} are"
            )
        if not found or name in HEADS:
            raise ValueError(f"cannot read {shortened(statement)}")
        angles = evaluated(found[2], scope.angles) if (found[2] or "").strip() else []
        on = [operand(part, scope.qubits) for part in found[3].split(",")]
        size = max(map(len, on))
        if any(len(wires) not in (1, size) for wires in on):
            raise ValueError(f"gate {name} is applied to registers of different sizes")
        for i in range(size):
            self.gate(name, angles, tuple(wires[i % len(wires)] for wires in on), scope.definitions)

    def gate(
        self, name: str, angles: Sequence[Affine], wires: tuple[int, ...], definitions: Mapping[str, Definition]
    ) -> None:
        """A gate on these wires, or the gates that it is made of."""
        self.step()
        own, defined = ALIASES.get(name, name), definitions.get(name)
        wanted = len(defined.angles) if defined else {"u": 3, "U": 3, "u3": 3, "u2": 2}.get(name, int(own in ANGLED))
        if len(angles) != wanted:
            raise ValueError(f"gate {name} takes {wanted} angle{'s' * (wanted != 1)}, not {len(angles)}")
        if defined:
            if not len(wires) == len(set(wires)) == len(defined.qubits):
                raise ValueError(f"gate {name} needs {len(defined.qubits)} different qubits")
            places = {q: range(wire, wire + 1) for q, wire in zip(defined.qubits, wires, strict=True)}
            scope = Scope(places, dict(zip(defined.angles, angles, strict=True)), defined.earlier)
            for line, statement in defined.body:
                try:
                    self.apply(statement, scope)
                except ValueError as error:
                    raise ValueError(f"in gate {name}, line {line}: {error}") from error
        elif name in ("u", "u2", "u3", "U"):
            tilt, last, first = angles if wanted == 3 else (Affine(math.pi / 2, {}), *angles)
            for turn, angle in (("rz", first), ("ry", tilt), ("rz", last)):
                self.gate(turn, [angle], wires, {})
        elif self.measured.intersection(wires):
            raise ValueError(f"gate {name} after a measurement is not supported: measure at the end alone")
        else:
            made = Gate(own, wires, *learned(angles[0])) if angles else Gate(own, wires)
            Circuit(self.wires, (made,))  # checks its wires
            self.gates.append(made)


def learned(angle: Affine) -> tuple[float, int | None, float]:
    """A gate's angle, parameter and scale."""
    if not all(map(math.isfinite, (angle.constant, *angle.slopes.values()))):
        raise ValueError("an angle is not finite")
    if len(angle.slopes) > 1:
        raise ValueError("an angle of more than one input is not supported")
    return angle.constant, *next(iter(angle.slopes.items()), (None, 1.0))


def operand(text: str, registers: Mapping[str, range]) -> range:
    """The wires that `q` or `q[2]` names."""
    found = re.fullmatch(rf"\s*{NAME}\s*(?:{SIZE})?\s*", text)
    if not found:
        raise ValueError(f"expected a register or a place in it, such as q or q[2], not {shortened(text)}")
    name, place = found.groups()
    if name not in registers:
        raise ValueError(f"unknown register {name}; there are: {', '.join(registers) or 'none'}")
    if place is None:
        return registers[name]
    if int(place) >= len(registers[name]):
        raise ValueError(f"{name}[{place}] is out of range: {name} has the places 0 to {len(registers[name]) - 1}")
    return registers[name][int(place) : int(place) + 1]


def evaluated(text: str, names: Mapping[str, Affine]) -> list[Affine]:
    """The angles of a gate, such as `pi/2, 0.5 * theta_0`."""
    if len(text) > LONGEST_ANGLES:
        raise ValueError(f"angles of more than {LONGEST_ANGLES} characters")
    marked = re.sub(r"(?<![\w.])(?=[^\W\d])", "_", text)  # lambda is a name in OpenQASM, and _lambda is one in Python
    try:
        tree = ast.parse(f"({marked},)", mode="eval").body
        return [affine(node, names) for node in tree.elts]
    except ArithmeticError as error:
        raise ValueError(f"the angle {shortened(text)} has no finite value") from error
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"cannot read the angle {shortened(text)}") from error


def affine(node: ast.expr, names: Mapping[str, Affine]) -> Affine:
    """The value of an expression."""
    match node:
        case ast.Constant(value=value) if type(value) in (int, float):
            return Affine(float(value), {})
        case ast.Name(id=marked):
            known = {"pi": Affine(math.pi, {}), "π": Affine(math.pi, {}), **names}
            if marked[1:] not in known:
                raise ValueError(f"unknown name {marked[1:]} in an angle; there are: {', '.join(['pi', *names])}")
            return known[marked[1:]]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=inner):
            return times(affine(inner, names), -1.0 if isinstance(sign, ast.USub) else 1.0)
        case ast.BinOp(left=left, op=operator, right=right):
            a, b = affine(left, names), affine(right, names)
            match operator:
                case ast.Add():
                    return plus(a, b)
                case ast.Sub():
                    return plus(a, times(b, -1.0))
                case ast.Mult() if not a.slopes or not b.slopes:
                    return times(a, b.constant) if a.slopes else times(b, a.constant)
                case ast.Div() if not b.slopes:
                    return Affine(a.constant / b.constant, {i: slope / b.constant for i, slope in a.slopes.items()})
                case ast.Pow() if not a.slopes and not b.slopes and (a.constant >= 0 or b.constant.is_integer()):
                    return Affine(a.constant**b.constant, {})
    said = shortened(re.sub(r"\b_(?=[^\W\d])", "", ast.unparse(node)))
    raise ValueError(f"{said} is not supported in an angle: only numbers, pi, + - * / ** and a + b * input are")


def plus(a: Affine, b: Affine) -> Affine:
    slopes = {i: a.slopes.get(i, 0.0) + b.slopes.get(i, 0.0) for i in a.slopes | b.slopes}
    return Affine(a.constant + b.constant, slopes)


def times(a: Affine, factor: float) -> Affine:
    return Affine(a.constant * factor, {i: slope * factor for i, slope in a.slopes.items()})


def blank(comment: re.Match) -> str:
    """The lines of a comment; ValueError where it does not end."""
    if comment[0].startswith("/*") and not (comment[0].endswith("*/") and len(comment[0]) > 3):
        raise ValueError("a comment /* does not end with */")
    return " " + "\n" * comment[0].count("\n")


def statements(text: str, line: int = 1) -> Iterator[tuple[int, str]]:
    """Each statement without its comments, and the line that it begins on. line: that of the text."""
    text = unicodedata.normalize("NFKC", text)  # as Python reads names
    text = re.sub(r"/\*.*?(?:\*/|\Z)|//[^\n]*", blank, text, flags=re.DOTALL)
    counted = 0
    for found in re.finditer(r"\s*([^;{}]*(?:\{[^{}]*\}|[;{}]|\Z))", text):
        line, counted = line + text.count("\n", counted, found.start(1)), found.start(1)
        statement = found[1].removesuffix(";").strip()
        if found[1] and found[1][-1] not in ";{}":
            raise ValueError(f"line {line}: {shortened(statement)} does not end with ;")
        if statement:
            yield line, statement


def shortened(text: str) -> str:
    """Text in quotes for a message of one line."""
    words = " ".join(text.split())
    return repr(words if len(words) <= 60 else words[:57] + "...")
