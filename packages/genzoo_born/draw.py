"""Circuits as pictures: lines for wires, boxes and dots for gates, time from left to right.

Gates stand as far left as their wires, and those between them, are free. Gates with a learned angle are blue.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genzoo.errors import UserError
from genzoo_born.circuit import ANGLED, SINGLE, Circuit, Gate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW, MOST = 60, 240
"""Columns in one row of wires, and columns drawn at all."""

INCHES = 0.52
"""Between two columns, and between two wires."""

INK, LEARNED, FIXED, BLUE = "#222222", "#d6e6f7", "#f2f2f2", "#1c5a9c"
DOT, PLUS, CROSS = "●", "⊕", "x"
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def columns(circuit: Circuit) -> list[int]:
    """The column of each gate."""
    free = [0] * circuit.wires
    found = []
    for gate in circuit.gates:
        span = slice(min(gate.wires), max(gate.wires) + 1)
        found.append(max(free[span]))
        free[span] = [found[-1] + 1] * len(free[span])
    return found


def marks(gate: Gate) -> tuple[str, ...]:
    """What stands on each of the gate's wires: a dot, a plus in a circle, a cross, or the text of a box."""
    if gate.name == "multirz" and len(gate.wires) == 1:
        return ("RZ",)
    if gate.name in ("cz", "cp", "rzz", "multirz"):
        return (DOT,) * len(gate.wires)
    if gate.name == "swap":
        return (CROSS, CROSS)
    if gate.name == "cx":
        return (DOT, PLUS)
    if gate.name in SINGLE:
        return ({"sdg": "S†", "tdg": "T†", "sx": "√X", "id": "I"}.get(gate.name, gate.name.upper()),)
    if gate.name in ("rxx", "ryy"):
        return (gate.name[1:].upper(),) * 2
    return (DOT, gate.name[1:].upper())  # cy, ch, crx, cry, crz


def joint(gate: Gate) -> str:
    """The name of a gate that is only dots."""
    if gate.name == "multirz" and len(gate.wires) > 1:
        return "Z" * min(len(gate.wires), 3)
    return {"cp": "P", "rzz": "ZZ"}.get(gate.name, "")


def angle(gate: Gate, theta: Sequence[float] | None = None) -> str:
    """A gate's angle in radians, short: a number, or which one is learned."""
    if gate.name not in ANGLED:
        return ""
    if theta is not None or gate.parameter is None:
        return f"{gate.angle if gate.parameter is None else gate.at(theta):.2f}"
    factor = {1.0: "", -1.0: "-"}.get(gate.scale, f"{gate.scale:.2g}")
    offset = f"{gate.angle:+.2g}" if gate.angle else ""
    return f"{factor}θ{str(gate.parameter).translate(SUBSCRIPTS)}{offset}"


def draw(circuit: Circuit, path: str | Path, *, theta: Sequence[float] | None = None) -> Path:
    """Writes a picture of the circuit, and gives its path.

    path: a file; its ending (.png, .pdf, .svg) says the format, and is .png where it has none.
    theta: the learned angles in radians, to be written at their gates instead of their names.

    After 60 columns the wires go on below; after 240 the picture ends with "..." and how many columns are not drawn.
    """
    if theta is not None and len(theta) != circuit.parameters:
        raise ValueError(f"this circuit has {circuit.parameters} learned angles, not {len(theta)}")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("pictures of circuits need matplotlib: pip install 'genzoo[born]'") from error
    path = Path(path)
    path = path if path.suffix else path.with_suffix(".png")
    placed = columns(circuit)
    count = max(placed, default=0) + 1
    drawn = min(count, MOST)
    rows, wide = math.ceil(drawn / ROW), min(drawn, ROW)
    more = 2.4 if count > drawn else 0.0
    across, high = wide + 1.4 + more, rows * (circuit.wires + 0.6)
    figure = Figure(figsize=(across * INCHES, high * INCHES), dpi=150)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-1.2, across - 1.2), ylim=(0.8 - high, 0.8), aspect="equal")
    axes.axis("off")
    for row in range(rows):
        for wire in range(circuit.wires):
            y = -(row * (circuit.wires + 0.6) + wire)
            axes.plot((-0.6, min(wide, drawn - row * ROW) - 0.4), (y, y), color=INK, lw=0.8, zorder=1)
            axes.text(-0.75, y, str(wire), ha="right", va="center", fontsize=8, color=INK)
    for gate, column in zip(circuit.gates, placed, strict=True):
        if column < drawn:
            below = (column // ROW) * (circuit.wires + 0.6)
            place(axes, gate, angle(gate, theta), x=column % ROW, y=-below)
    if count > drawn:
        said = f"...\n{count - drawn} more columns"
        axes.text(wide, 0.8 - high + (circuit.wires + 0.6) / 2, said, ha="left", va="center", fontsize=8, color=INK)
    figure.savefig(path, facecolor="white")
    return path


def place(axes: "Axes", gate: Gate, words: str, *, x: float, y: float) -> None:
    """Draws one gate in column x of the wires whose first is at height y. words: its angle."""
    from matplotlib.patches import Circle, Rectangle

    colour, fill = (INK, FIXED) if gate.parameter is None else (BLUE, LEARNED)
    stroke = {"edgecolor": colour, "linewidth": 0.9}
    written = {"fontsize": 6.5, "color": colour, "linespacing": 1.05, "zorder": 5}
    ends = (y - min(gate.wires), y - max(gate.wires))
    axes.plot((x, x), ends, color=colour, lw=1.1, zorder=2)
    for mark, wire in zip(marks(gate), gate.wires, strict=True):
        at = y - wire
        if mark == DOT:
            axes.add_patch(Circle((x, at), 0.095, facecolor=colour, zorder=3, **stroke))
        elif mark == PLUS:
            axes.add_patch(Circle((x, at), 0.22, facecolor="white", zorder=3, **stroke))
            axes.plot((x - 0.22, x + 0.22), (at, at), color=colour, lw=0.9, zorder=4)
            axes.plot((x, x), (at - 0.22, at + 0.22), color=colour, lw=0.9, zorder=4)
        elif mark == CROSS:
            for slope in (-0.14, 0.14):
                axes.plot((x - 0.14, x + 0.14), (at - slope, at + slope), color=colour, lw=1.1, zorder=4)
        else:
            axes.add_patch(Rectangle((x - 0.36, at - 0.34), 0.72, 0.68, facecolor=fill, zorder=3, **stroke))
            box = {**written, "ha": "center", "va": "center"}
            if words:
                axes.text(x, at + 0.12, mark, **{**box, "fontsize": 7})
                axes.text(x, at - 0.16, words, **{**box, "fontsize": 6.5 if len(words) < 6 else 4.5})
            else:
                axes.text(x, at, mark, **{**box, "fontsize": 8})
    if joint(gate):
        axes.text(x + 0.1, max(ends) - 0.5, f"{joint(gate)}\n{words}", va="center", **written)


def text(circuit: Circuit, *, width: int = 100) -> str:
    """The circuit in characters, for a terminal; angles are left out. width: characters of a line, after which the
    wires go on below. After 240 columns it ends with "…".
    """
    placed = columns(circuit)
    count = min(max(placed, default=-1) + 1, MOST)
    empty = ["─", " "] * (circuit.wires - 1) + ["─"]  # wires, and what is between them
    cells = [empty.copy() for _ in range(count)]
    for gate, column in zip(circuit.gates, placed, strict=True):
        if column < count:
            first, last = 2 * min(gate.wires), 2 * max(gate.wires)
            cells[column][first:last] = ["┼", "│"] * ((last - first) // 2)
            for mark, wire in zip(marks(gate), gate.wires, strict=True):
                cells[column][2 * wire] = joint(gate) or mark
    number = len(str(circuit.wires - 1))
    start = [f"{i // 2:>{number}}: ─" if i % 2 == 0 else " " * (number + 3) for i in range(len(empty))]
    blocks = [start]
    for cell in cells:
        wide = max(map(len, cell)) + 1
        if blocks[-1] is not start and len(blocks[-1][0]) + wide > width:
            blocks.append(start)
        blocks[-1] = [a + b.ljust(wide, fill) for a, b, fill in zip(blocks[-1], cell, empty, strict=True)]
    if max(placed, default=0) >= MOST:
        blocks[-1] = [line + "…" if fill == "─" else line for line, fill in zip(blocks[-1], empty, strict=True)]
    return "\n\n\n".join("\n".join(line.rstrip() for line in block) for block in blocks)
