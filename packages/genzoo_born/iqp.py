"""IQP Born machines beyond simulation: trained by Pauli-Z expectation values, which are classically easy, though
samples are not.

Legend: B strings of a batch, n bits, G generators (sets of wires that a Z rotation acts on), O operators (random
products of Z), S uniform strings z of the estimator.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from genzoo.contract import Batch, Data, Loss, Spec
from genzoo_born.ansatz import iqp
from genzoo_born.hypercube import flip_rate
from genzoo_born.model import Measured
from genzoo_born.simulator import Simulator, check_memory

SIMULATED = 24
"""Most wires that are simulated for samples and likelihoods."""


class IQPMachine(Measured):
    """H, a Z rotation for each generator, H, measurement; trained to a small MMD that is estimated without simulation.

    The squared MMD with a Gaussian kernel is the mean of (<Z_a>_p - <Z_a>_q)^2 over random products Z_a of Paulis
    (Rudolph et al. 2024), and of an IQP circuit each <Z_a> is a mean of cosines over uniform strings (Van den Nest
    2010). All three terms are estimated by U-statistics, so that the estimate is unbiased.

    order, reach: the generators; see `genzoo_born.ansatz.iqp`.
    bandwidths: of the kernels, in bits^(1/2). operators, strings: O and S of a step.
    start: "identity" (angles near zero) or "covariance": angles of pairs from the covariance of their spins in the
    data.
    spread: standard deviation of the first angles, in radians.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        order: int = 2,
        reach: int | None = None,
        bandwidths: Sequence[float] = (2.0, 4.0),
        operators: int = 512,
        strings: int = 512,
        start: Literal["identity", "covariance"] = "covariance",
        spread: float = 0.01,
    ) -> None:
        super().__init__()
        if spec.vocab != 2 or len(spec.shape) != 1:
            raise ValueError("an IQP machine makes strings of bits, and this data is something else")
        if operators < 1 or strings < 2 or not bandwidths:
            raise ValueError("operators must be at least 1, strings at least 2, and bandwidths not empty")
        self.spec, self.start = spec, start
        self.circuit = iqp(spec.shape[0], order=order, reach=reach)
        self.rates = [flip_rate(b) for b in bandwidths]
        self.operators, self.strings = operators, strings
        self.sets = [gate.wires for gate in self.circuit.gates if gate.parameter is not None]
        check_memory(4 * len(self.sets) * self.wires, self.wires, torch.device("cpu"))
        member = torch.zeros(len(self.sets), self.wires)
        for row, wires in enumerate(self.sets):
            member[row, list(wires)] = 1
        self.register_buffer("member_gn", member, persistent=False)
        self.theta = nn.Parameter(spread * torch.randn(len(self.sets)))

    @torch.no_grad()
    def initialise(self, data: Data) -> None:
        """Angles of single wires that give each bit its frequency, and of pairs in proportion to their covariance."""
        if self.start != "covariance":
            return
        spins = 1.0 - 2 * data.batch(0, 4096, "train").x.float()
        covariance = torch.cov(spins.T)
        for g, wires in enumerate(self.sets):
            if len(wires) == 1:
                self.theta[g] += spins[:, wires[0]].mean().clamp(-1, 1).acos()
            elif len(wires) == 2:
                self.theta[g] += 0.1 * covariance[wires]

    def expectations(self, operators_on: Tensor, z_sn: Tensor) -> Tensor:
        """Of each operator [O, n] (1 where it has a Z) and each uniform string z [S, n], the cosine [S, O] whose mean
        over z is <Z_a>: cos(sum of theta_g (-1)^(g z) over the generators g that meet a in an odd number of wires)."""
        odd_go = (self.member_gn @ operators_on.T) % 2
        sign_sg = 1 - 2 * ((z_sn @ self.member_gn.T) % 2)
        return ((sign_sg * self.theta) @ odd_go).cos()

    def draw_operators(self, generator: torch.Generator | None) -> Tensor:
        """Products of Z whose law belongs to the kernel: each wire with probability (1 - exp(-1 / 2 bandwidth^2)) / 2,
        the bandwidths as likely as each other; [O, n]."""
        device = self.theta.device
        rate = torch.tensor([(1 - rate) / 2 for rate in self.rates], device=device)
        which = torch.randint(len(rate), (self.operators,), generator=generator, device=device)
        uniform = torch.rand(self.operators, self.wires, generator=generator, device=device)
        return (uniform < rate[which, None]).float()

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        """Squared MMD, [B]: its mean over the batch is unbiased for the data's law and over all randomness."""
        with torch.autocast(self.theta.device.type, enabled=False):  # parities need all their bits
            return self._loss(batch, generator)

    def _loss(self, batch: Batch, generator: torch.Generator | None) -> Loss:
        operators_on = self.draw_operators(generator)
        z_sn = torch.randint(2, (self.strings, self.wires), generator=generator, device=self.theta.device).float()
        model_so = self.expectations(operators_on, z_sn)
        data_bo = 1 - 2 * ((batch.x.float() @ operators_on.T) % 2)
        model_o, s, b = model_so.mean(0), self.strings, max(2, len(batch))
        model_squared = (s * model_o.square() - model_so.square().mean(0)) / (s - 1)
        data_squared = data_bo * (data_bo.sum(0) - data_bo) / (b - 1)
        return Loss((model_squared - 2 * model_o * data_bo + data_squared).mean(1))

    @cached_property
    def simulator(self) -> Simulator:
        """ValueError beyond the wires that can be simulated."""
        if self.wires > SIMULATED:
            raise ValueError(
                f"samples of an IQP circuit on {self.wires} wires need a quantum computer (at most {SIMULATED} are "
                "simulated): score it with n=0, or export it by genzoo_born.qasm"
            )
        return Simulator(self.circuit)

    @property
    def scored(self) -> bool:
        return self.wires <= SIMULATED

    def log_prob(self, x: Tensor, cond: Mapping[str, Tensor]) -> Tensor | None:
        return super().log_prob(x, cond) if self.scored else None
