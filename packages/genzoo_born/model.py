"""Born machines: the probability of a string is the squared amplitude of a basis state.

Legend: B strings of a batch, n samples, N = 2^wires basis states, P angles.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from genzoo.contract import Batch, Data, GenerativeModel, Loss, Spec
from genzoo.draws import Noise
from genzoo.page.items import Exhibit, still
from genzoo_born import mps
from genzoo_born.circuit import Circuit
from genzoo_born.hypercube import at_levels, digits, draw, numbers
from genzoo_born.losses import TINY, Likelihood
from genzoo_born.noise import errors, misread, places, with_errors
from genzoo_born.simulator import Simulator, check_wires

Start = Literal["marginals", "identity", "random", "staircase"]
FIRST_LOOK = 4096
"""Strings that data-driven first angles are fitted to."""


class Measured(GenerativeModel):
    """What all models have whose samples are measurements: `circuit`, the angles `theta`, and a simulator of both."""

    circuit: Circuit
    simulator: Simulator
    theta: nn.Parameter
    known: tuple[Tensor, Tensor] | None = None
    """Angles, and the law that belongs to them."""

    @property
    def wires(self) -> int:
        return self.circuit.wires

    def probabilities(self) -> Tensor:
        """Of all strings, [N]; without a gradient they are remembered until the angles change."""
        if torch.is_grad_enabled():
            return self.simulator.probabilities(self.theta)
        if self.known is None or not torch.equal(self.known[0], self.theta):
            self.known = (self.theta.clone(), self.simulator.probabilities(self.theta))
        return self.known[1]

    def log_prob(self, x: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        return (self.probabilities()[numbers(x)] + TINY).log()

    @torch.no_grad()
    def sample(
        self,
        n: int,
        cond: Mapping[str, Tensor],
        noise: Noise,
        *,
        depolarizing: float = 0.0,
        readout_error: float = 0.0,
    ) -> Tensor:
        """n strings [n, wires] from n shots.

        depolarizing: probability of a Pauli error on each wire of each gate; each shot then is a trajectory of its own.
        readout_error: probability that a measured bit is read as the other.
        """
        for name, value in (("depolarizing", depolarizing), ("readout_error", readout_error)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, not {value}")
        shots = self._noisy_shots(n, depolarizing, noise) if depolarizing else draw(self.probabilities(), n, noise)
        return misread(digits(shots, self.wires), readout_error, noise)

    def _noisy_shots(self, n: int, probability: float, noise: Noise) -> Tensor:
        kinds = errors(places(self.circuit), n, probability, noise)
        rows, of_shot = torch.unique(kinds, dim=0, return_inverse=True)
        level, shots = noise.uniform(n, dtype=torch.float64), torch.empty_like(of_shot)
        double = self.simulator.float == torch.float64
        for i, row in enumerate(rows.tolist()):
            simulator = Simulator(with_errors(self.circuit, row), double=double) if any(row) else None
            p = simulator.probabilities(self.theta) if simulator else self.probabilities()
            shots[of_shot == i] = at_levels(p, level[of_shot == i])
        return shots

    def portrait(self, folder: Path) -> list[Exhibit]:
        """The circuit with its angles."""
        from genzoo_born.draw import draw

        angles = self.theta.detach().cpu().tolist()
        told = f"{self.wires} qubits, {len(self.circuit.gates)} gates, {self.circuit.parameters} learned angles"
        return [still(draw(self.circuit, folder / "circuit.png", theta=angles), title=told, alt="the circuit")]


class BornMachine(Measured):
    """p(x) = |<x| U(theta) |0...0>|^2 (Cheng et al. 2018; Liu & Wang 2018).

    spec: bit strings, one wire a bit.
    circuit: makes the circuit from the number of wires; see `genzoo_born.ansatz`.
    loss: what is minimised; see `genzoo_born.losses`.
    start: of the angles: "identity" near zero, "random" in (-pi, pi), "marginals" near zero but for the last `ry` of
        each wire, which gives each bit its frequency in the data, "staircase" (for `matrix_product`) the first
        staircase fitted to the data as a matrix-product state and the others near the identity.
    spread: standard deviation of what is "near zero", in radians.
    double: 64-bit reals. gradient: auto, stored or reversible; see `Simulator`.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        circuit: Callable[[int], Circuit],
        loss: Callable[[Tensor, Tensor, torch.Generator | None], Tensor] | None = None,
        start: Start = "marginals",
        spread: float = 0.1,
        double: bool = False,
        gradient: Literal["auto", "stored", "reversible"] = "auto",
    ) -> None:
        super().__init__()
        if spec.vocab != 2 or len(spec.shape) != 1:
            raise ValueError("a Born machine makes strings of bits, and this data is something else")
        check_wires(spec.shape[0])
        self.spec, self.circuit = spec, circuit(spec.shape[0])
        self.criterion = loss or Likelihood()
        self.start, self.spread = start, spread
        self.simulator = Simulator(self.circuit, double=double, gradient=gradient)
        self.theta = nn.Parameter(spread * torch.randn(self.circuit.parameters))
        if start == "random":
            nn.init.uniform_(self.theta, -torch.pi, torch.pi)

    @torch.no_grad()
    def initialise(self, data: Data) -> None:
        """First angles from the data, where `start` says so."""
        if self.start not in ("marginals", "staircase"):
            return
        x = data.batch(0, FIRST_LOOK, "train").x.to(self.theta.device)
        if self.start == "staircase":
            self._start_staircase(x)
            return
        last = {g.wires[0]: g.parameter for g in self.circuit.gates if g.name == "ry" and g.parameter is not None}
        if len(set(last.values())) < self.wires:
            raise ValueError("start=marginals needs a learned ry of its own on every wire: choose start=identity")
        for wire, parameter in last.items():
            self.theta[parameter] += 2 * x[:, wire].float().mean().sqrt().asin()

    def _start_staircase(self, x: Tensor) -> None:
        count = mps.ANGLES * (self.wires - 1)
        if [g.name for g in self.circuit.gates[: mps.ANGLES]] != [g.name for g in mps.block().gates] or self.wires < 2:
            raise ValueError("start=staircase needs the circuit genzoo_born.ansatz.matrix_product on 2 wires or more")
        generator = torch.Generator(x.device).manual_seed(int(self.theta[0].abs() * 2**40))
        self.theta[:count] = mps.fit_staircase(x, steps=400, generator=generator).flatten()

    def start_from(self, weights: Mapping[str, Tensor]) -> None:
        """Takes the angles of a circuit that this one begins with; the others start near zero. So a circuit grows."""
        first = weights.get("theta", self.theta.new_empty(0)).to(self.theta)
        if not 0 < len(first) <= len(self.theta):
            raise RuntimeError(f"theta has {len(first)} angles there and {len(self.theta)} here")
        with torch.no_grad():
            self.theta[: len(first)] = first
            if self.start == "random":
                self.theta[len(first) :] *= self.spread / torch.pi

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        """The criterion of each string of the batch, [B]."""
        return Loss(self.criterion(self.probabilities(), numbers(batch.x), generator))
