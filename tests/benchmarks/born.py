"""One exact Kullback-Leibler value with its whole gradient: ours, plain torch and PennyLane's simulators.

    make bench
    python tests/benchmarks/born.py --qubits 10 12 16 --layers 8 --rounds 5

All in one process, on one thread, in turns; the figure is the median CPU time, and its ratio to ours. The circuit:
layers of RY and RZ on every wire and a ring of CZ. lightning.qubit has no adjoint gradient of probabilities; it is
given the cheapest way to the same numbers, one run for the probabilities and one adjoint gradient of the diagonal
observable whose expectation has the gradient of the divergence.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from collections.abc import Callable
from statistics import median

import pennylane as qml
import scipy.sparse
import torch
from pennylane import numpy as pnp

from genzoo_born.ansatz import Builder, pairs
from genzoo_born.circuit import Circuit
from genzoo_born.simulator import Simulator

torch.set_num_threads(1)
TINY = 1e-12


def circuit(wires: int, layers: int) -> Circuit:
    made = Builder(wires)
    for _ in range(layers):
        for wire in range(wires):
            made.add("ry", wire)
            made.add("rz", wire)
        for pair in pairs(wires, "ring"):
            made.add("cz", *pair)
    return made.circuit


def divergence(probabilities: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (target * (target.log() - (probabilities + TINY).log())).sum()


def ours(wires: int, layers: int, target: torch.Tensor, gradient: str) -> Callable:
    simulator = Simulator(circuit(wires, layers), gradient=gradient)

    def run(theta: torch.Tensor) -> tuple[float, torch.Tensor]:
        theta = theta.clone().requires_grad_()
        value = divergence(simulator.probabilities(theta), target)
        value.backward()
        return value.item(), theta.grad

    return run


def plain_torch(wires: int, layers: int, target: torch.Tensor) -> Callable:
    """Groups of four wires as one matrix, a stored sign vector for the ring, and autograd for the rest."""
    bits = (torch.arange(2**wires)[:, None] >> torch.arange(wires - 1, -1, -1)) & 1
    ring = pairs(wires, "ring")
    sign = (1 - 2 * (sum(bits[:, a] * bits[:, b] for a, b in ring) % 2)).to(torch.complex64)
    groups = [range(w, min(w + 4, wires)) for w in range(0, wires, 4)]

    def run(theta: torch.Tensor) -> tuple[float, torch.Tensor]:
        theta = theta.clone().requires_grad_()
        angle = theta.view(layers, wires, 2)
        c, s = (angle[..., 0] / 2).cos(), (angle[..., 0] / 2).sin()
        ry = torch.stack((c, -s, s, c), -1).unflatten(-1, (2, 2)).to(torch.complex64)
        phase = torch.stack((-angle[..., 1] / 2, angle[..., 1] / 2), -1)
        gate = torch.polar(torch.ones_like(phase), phase)[..., None] * ry
        state = torch.zeros(2**wires, dtype=torch.complex64)
        state[0] = 1
        for layer in range(layers):
            for group in groups:
                matrix = gate[layer, group[0]]
                for wire in group[1:]:
                    matrix = torch.kron(matrix, gate[layer, wire])
                state = matrix @ state.view(2 ** group[0], len(matrix), -1)
            state = state.flatten() * sign
        value = divergence(state.abs().square(), target)
        value.backward()
        return value.item(), theta.grad

    return run


def queue(theta: object, wires: int, layers: int) -> None:
    ring = pairs(wires, "ring")
    for layer in range(layers):
        for wire in range(wires):
            qml.RY(theta[2 * (layer * wires + wire)], wires=wire)
            qml.RZ(theta[2 * (layer * wires + wire) + 1], wires=wire)
        for pair in ring:
            qml.CZ(wires=pair)


def default_qubit(wires: int, layers: int, target: torch.Tensor) -> Callable:
    @qml.qnode(qml.device("default.qubit", wires=wires), interface="torch", diff_method="backprop")
    def probabilities(theta: torch.Tensor) -> object:
        queue(theta, wires, layers)
        return qml.probs(wires=range(wires))

    def run(theta: torch.Tensor) -> tuple[float, torch.Tensor]:
        theta = theta.clone().double().requires_grad_()
        value = divergence(probabilities(theta), target.double())
        value.backward()
        return value.item(), theta.grad

    return run


def lightning(wires: int, layers: int, target: torch.Tensor) -> Callable:
    import numpy as np

    device = qml.device("lightning.qubit", wires=wires, c_dtype=np.complex64)

    @qml.qnode(device)
    def probabilities(theta: object) -> object:
        queue(theta, wires, layers)
        return qml.probs(wires=range(wires))

    def run(theta: torch.Tensor) -> tuple[float, torch.Tensor]:
        at = pnp.array(theta.double().numpy(), requires_grad=True)
        p = torch.as_tensor(np.asarray(probabilities(at)), dtype=torch.float64)
        weight = -target.double() / (p + TINY)

        @qml.qnode(device, diff_method="adjoint")
        def expectation(theta: object) -> object:
            queue(theta, wires, layers)
            return qml.expval(qml.SparseHamiltonian(scipy.sparse.diags(weight.numpy()).tocsr(), wires=range(wires)))

        return divergence(p, target.double()).item(), torch.as_tensor(np.asarray(qml.grad(expectation)(at)))

    return run


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--qubits", type=int, nargs="+", default=[10, 12, 16])
    words.add_argument("--layers", type=int, default=8)
    words.add_argument("--rounds", type=int, default=5)
    options = words.parse_args()
    for wires in options.qubits:
        generator = torch.Generator().manual_seed(0)
        theta = torch.randn(2 * wires * options.layers, generator=generator)
        target = torch.rand(2**wires, generator=generator) + 0.1
        target /= target.sum()
        runs = {
            "genzoo": ours(wires, options.layers, target, "auto"),
            "genzoo, reversible": ours(wires, options.layers, target, "reversible"),
            "plain torch": plain_torch(wires, options.layers, target),
        }
        if wires <= 16:
            runs["lightning.qubit"] = lightning(wires, options.layers, target)
            runs["default.qubit"] = default_qubit(wires, options.layers, target)
        times: dict[str, list[float]] = {name: [] for name in runs}
        expected = None
        for turn in range(options.rounds + 1):
            for name, run in runs.items():
                began = time.process_time()
                value, gradient = run(theta)
                if turn:  # the first is for warming up, and for checking
                    times[name].append(time.process_time() - began)
                    continue
                expected = expected or (value, gradient.double())
                assert abs(value - expected[0]) < 1e-3, f"{name}: {value} and not {expected[0]}"
                assert (gradient.double() - expected[1]).abs().max() < 1e-3, name
        base = median(times["genzoo"])
        for name, seconds in times.items():
            ms, ratio = 1000 * median(seconds), median(seconds) / base
            print(f"{wires:3} qubits  {name:20} {ms:9.1f} ms  {ratio:7.2f} x", flush=True)


if __name__ == "__main__":
    main()
