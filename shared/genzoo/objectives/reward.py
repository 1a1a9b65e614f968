"""A reward is raised, and what that costs is measured: the distance from the start, variety, and a second reward."""

import copy
import math
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, Literal

import torch
from torch import Tensor

from genzoo.contract import Batch, Data, GenerativeModel, Objective, Spec, Verdict
from genzoo.draws import GeneratorNoise
from genzoo.errors import UserError
from genzoo.families.flow import Flow, recorded
from genzoo.families.stochastic import Path
from genzoo.metrics.diversity import distinct, pair_distance
from genzoo.objectives.adversarial import evaluating

Function = Callable[[Tensor, Data, Mapping[str, Tensor]], Any]

LISTED = 2**16
"""Up to so many examples that there can be at all, the KL divergence is a sum over them."""

KL_BUDGET = {"kl_exact": 20.0, "kl_estimated": 20.0, "kl_path_bound": 2000.0}
"""Nats a sample at which a run ends where none are given: the bound of a flow's paths counts thousands of numbers."""

AT_ONCE = 64
"""Samples that are drawn at once where they are measured."""


class Reward(Objective):
    """Raises the mean reward of samples, from a trained model on. Its start stays beside it, frozen.

    spec: of the data. function: the reward, called with (samples [n, *shape] in model space, the data, their
        conditions), gives n numbers. gold: another such function, which is not raised but watched: where it falls while
        the reward rises, the reward is being gamed (Gao et al. 2023).
    ask: the wish that samples answer, in the words of `Data.condition`; null: conditions of the data, each for `group`
        samples in a row, which are compared with each other. After a prompt, samples are as much shorter as the context
        asks for.
    kl: weight of the KL divergence from the start, in rewards (see `scale`) a nat of a sample.
    kl_budget: nats a sample at which the run ends; None: those of `KL_BUDGET`. patience: or when at so many validations
        in a row the gold reward lies more than two standard errors of the difference below its peak, and the reward
        above what it was there.
    native: weight of the model's own loss on the data.
    scale: whether rewards are divided by their standard deviation from the mean of those that they are compared with.
    through: how the model is reached. "score": policy gradient, of samples relative to the others of their group
        (Shao et al. 2024, GRPO, eq. 3; without scale, to the mean of the others: Williams 1992), by the likelihood, or,
        of flows, by that of the Gaussian steps of their stochastic solver (Liu et al. 2025, Flow-GRPO, sec. 4.2).
        "sample": of flows, the reward's own gradient, through the last `learned` steps of that solver (Clark et al.
        2024, DRaFT, sec. 4.2). "auto": that, where the reward has a gradient.
    steps: of the stochastic solver. samples: that are drawn to measure, in each process.

    At validations it logs `reward` and `gold` with standard errors, `gain`, how far the reward is above that of the
    start's samples of the same conditions and noise, `diversity` (the mean distance of two samples), and
    the KL divergence by its name. kl_exact: a sum over all examples there can be. kl_estimated: the mean of
    log p / p_start over the samples. kl_path_bound: of the paths of flows, no less than that of the samples. Samples
    are drawn as the model has learned them, at temperature 1 and without guidance; of flows, stochastically.
    """

    tunes = True

    def __init__(
        self,
        spec: Spec,
        *,
        function: Function | None = None,
        gold: Function | None = None,
        ask: dict[str, Any] | None = None,
        group: int = 8,
        kl: float = 0.0,
        kl_budget: float | None = None,
        patience: int = 2,
        native: float = 0.0,
        scale: bool = True,
        through: Literal["auto", "score", "sample"] = "auto",
        steps: int = 6,
        learned: int = 2,
        samples: int = 256,
    ) -> None:
        super().__init__()
        if function is None:
            raise ValueError("no reward: give reward=NAME of configs/reward, or reward.function=my_module:my_function")
        if through not in ("auto", "score", "sample"):
            raise ValueError(f"through is auto, score or sample, not {through!r}")
        for name, value, least in (
            ("group", group, 2),
            ("patience", patience, 1),
            ("steps", steps, 2),
            ("learned", learned, 1),
            ("samples", samples, 2),
            ("kl", kl, 0),
            ("native", native, 0),
        ):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, not {value:g}")
        if kl_budget is not None and not kl_budget > 0:
            raise ValueError(f"kl_budget must be above 0, not {kl_budget:g}")
        self.spec, self.function, self.gold, self.ask, self.group = spec, function, gold, ask, group
        self.kl, self.kl_budget, self.patience, self.native = kl, kl_budget, patience, native
        self.scale, self.through, self.steps, self.learned, self.samples = scale, through, steps, learned, samples
        self.register_buffer("peak", torch.tensor([-math.inf, -math.inf, 0.0], dtype=torch.float64))
        self.register_buffer("before", torch.full((samples,), math.nan))  # the start's own rewards
        self.register_buffer("falls", torch.tensor(0))
        self.register_buffer("kept", torch.tensor(-1))  # validations without fault, after the start's own

    # ---- before a run

    def check(self, model: GenerativeModel) -> None:
        flows = any(isinstance(part, Flow) for part in model.modules())
        if not model.scored and not (flows and "solver" in signature(model.sample).parameters):
            raise ValueError(
                "objective=reward needs a model with a likelihood, or a flow; this one only gives back what it is "
                "given, or its law is out of reach: choose objective=native"
            )
        if self.through == "sample" and model.scored:
            raise ValueError("objective.through=sample is for flows: choose score")

    def initialise(self, data: Data) -> None:
        self.data = data
        self.asked = None if self.ask is None else data.request(1, **self.ask).cond

    def begin(self, model: GenerativeModel) -> None:
        self.start = copy.deepcopy(model).requires_grad_(False).eval()
        self.differentiable = None
        self.told: dict[str, Any] = {"stop": self.data.stop} if self.data.stop else {}
        if self.asked and hasattr(model, "longest"):
            longest, whole = model.longest(self.asked), math.prod(self.spec.shape)
            if longest < 1:
                raise ValueError("reward.ask has a prompt that fills the model's context: make it shorter")
            self.told |= {"length": longest} if longest < whole else {}

    # ---- the gradient

    def loss(
        self, turn: str, modules: Mapping[str, Callable[..., Any]], batch: Batch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        model = modules["model"]
        bare = getattr(model, "module", model)  # without the wrapper for several devices
        cond = self._conditions(batch.cond, len(batch), batch.x.device)
        reach = self._by_likelihood if bare.scored else self._by_paths
        total, logs = reach(model, bare, len(batch), cond, generator)
        if self.native:
            own = model(batch, generator)
            total = total + self.native * own.value.mean()
            logs |= {"native": own.value.detach().mean(), **own.logs}
        return total, logs

    def _conditions(self, cond: Mapping[str, Tensor], n: int, device: torch.device) -> dict[str, Tensor]:
        """Of n samples: what is asked for, or the first conditions, each for a group."""
        if self.asked is not None:
            return {name: value.to(device).expand(n, *value.shape[1:]) for name, value in self.asked.items()}
        if not cond:
            return {}
        if n % self.group:
            raise UserError(
                f"objective.group={self.group} must divide the {n} examples that a process looks at at once"
            )
        return {name: value[: n // self.group].repeat_interleave(self.group, dim=0) for name, value in cond.items()}

    def _by_likelihood(
        self, model: Callable[..., Any], bare: GenerativeModel, n: int, cond: dict[str, Tensor], draw: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad(), evaluating(bare):
            x = bare.sample(n, cond, GeneratorNoise(draw), **self.told).clone()
        reward = self._of(self.function, x, cond)
        with evaluating(bare):
            log_prob = model(x, cond, call="log_prob")
        with torch.no_grad():
            advantage = self._advantage(reward, cond)
            if self.kl:
                ratio = log_prob - self.start.log_prob(x, cond)
                advantage = advantage - self.kl * self._ahead(ratio, cond)
        return -(advantage * log_prob).mean(), {"reward": reward.mean()}

    def _by_paths(
        self, model: Callable[..., Any], bare: GenerativeModel, n: int, cond: dict[str, Tensor], draw: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        way = self._way(cond, n, draw.device)
        path = Path(way, self.learned)
        with recorded(bare, path), evaluating(bare):
            x = model(n, cond, GeneratorNoise(draw), call="sample", steps=self.steps, solver="stochastic")
        kl = path.kl(self._followed(path, n, cond, draw), n)
        logs = {"kl_path_bound": kl.detach().mean()}
        if way == "sample":
            reward = self._of(self.function, x, cond)
            size = self._spread(reward.detach(), cond) if self.scale else 1.0
            return (self.kl * kl - reward / size).mean(), logs | {"reward": reward.detach().mean()}
        with torch.no_grad():
            reward = self._of(self.function, x, cond)
            advantage = self._advantage(reward, cond) - self.kl * self._ahead(kl, cond)
        return (self.kl * kl - advantage * path.log_prob(n)).mean(), logs | {"reward": reward.mean()}

    def _way(self, cond: dict[str, Tensor], n: int, device: torch.device) -> Literal["score", "sample"]:
        """Whether the reward has a gradient, found out once, from samples of the start."""
        if self.differentiable is None:
            rows = min(n, 2)
            some = {name: value[:rows] for name, value in cond.items()}
            with torch.no_grad():
                x = self.start.sample(rows, some, no_matter(device), steps=self.steps)
            found = self.function(x.requires_grad_(), self.data, some)
            self.differentiable = isinstance(found, Tensor) and found.requires_grad
        if self.through == "sample" and not self.differentiable:
            raise UserError("objective.through=sample: the reward has no gradient: choose score")
        return "sample" if self.differentiable and self.through != "score" else "score"

    @torch.no_grad()
    def _followed(self, path: Path, n: int, cond: dict[str, Tensor], draw: torch.Generator) -> Path:
        """What the start makes of the same path."""
        with recorded(self.start, Path(given=path)) as theirs:
            self.start.sample(n, cond, no_matter(draw.device), steps=self.steps, solver="stochastic")
        return theirs

    def _of(self, function: Function, x: Tensor, cond: dict[str, Tensor]) -> Tensor:
        """Rewards [n]; UserError where the function gives something else."""
        reward = torch.as_tensor(function(x, self.data, cond), dtype=torch.float32, device=x.device)
        if reward.shape != (len(x),) or not reward.isfinite().all():
            kind = f"shape {tuple(reward.shape)}" if reward.shape != (len(x),) else "what is no finite number"
            raise UserError(f"a reward gives one finite number for each of {len(x)} samples, and not {kind}")
        return reward

    def _groups(self, value: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        """[n] as those that are compared with each other, [groups, samples of one]."""
        return value.view(1, -1) if self.asked is not None or not cond else value.view(-1, self.group)

    def _ahead(self, value: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        """How far each [n] is above the mean of the others of its group."""
        x = self._groups(value.detach(), cond)
        count = x.shape[1]
        return ((x - x.mean(dim=1, keepdim=True)) * count / max(1, count - 1)).flatten()

    def _spread(self, reward: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        """The standard deviation from the mean of the group, over all; 1 where each group is alike. Of each group its
        own would blow up the differences of those that are nearly alike (Liu et al. 2025, Dr. GRPO)."""
        x = self._groups(reward, cond)
        std = x.sub(x.mean(dim=1, keepdim=True)).square().mean().sqrt()
        return torch.where(std > 1e-6 * x.abs().max(), std, 1.0)

    def _advantage(self, reward: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        ahead = self._ahead(reward, cond)
        return ahead / self._spread(reward, cond) if self.scale else ahead

    # ---- what it costs

    @torch.no_grad()
    def measure(self, model: GenerativeModel, generator: torch.Generator) -> dict[str, Tensor]:
        device, n = generator.device, self.samples
        held = {} if self.asked is not None else self.data.batch(0, n, "val").to(device).cond
        asked = self.asked or {}
        whole = {name: value.to(device).expand(n, *value.shape[1:]) for name, value in asked.items()} | held
        found: dict[str, list[Tensor]] = {}
        with evaluating(model):
            for i in range(0, n, AT_ONCE):
                cond = {name: value[i : i + AT_ONCE] for name, value in whole.items()}
                rows = min(AT_ONCE, n - i)
                x, kl = self._sampled(model, rows, cond, generator)
                numbers = {"x": x, "kl": kl, "reward": self._of(self.function, x, cond)}
                if self.gold is not None:
                    numbers["gold"] = self._of(self.gold, x, cond)
                for name, value in numbers.items():
                    found.setdefault(name, []).append(value)
            exact = self._listed_kl(model, device)
        all_of = {name: torch.cat(parts) for name, parts in found.items()}
        if self.before.isnan().any():
            self.before.copy_(all_of["reward"])
        gain = all_of["reward"] - self.before
        numbers = {"gain": gain.mean(), "gain_error": gain.std() / n**0.5}
        for name in ("reward", "gold") if self.gold is not None else ("reward",):
            numbers[name] = all_of[name].mean()
            numbers[f"{name}_error"] = all_of[name].std() / n**0.5
        if exact is not None:
            numbers["kl_exact"] = exact
        else:
            numbers["kl_estimated" if model.scored else "kl_path_bound"] = all_of["kl"].mean()
            numbers["kl_error"] = all_of["kl"].std() / n**0.5
        numbers["diversity"] = pair_distance(all_of["x"], tokens=bool(self.spec.vocab))
        if self.spec.vocab and all_of["x"][0].numel() >= 32:
            numbers["distinct_4"] = distinct(all_of["x"].flatten(1), 4)
        return numbers

    def _sampled(
        self, model: GenerativeModel, n: int, cond: dict[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Samples, and what each contributes to the KL divergence, [n]."""
        if model.scored:
            x = model.sample(n, cond, GeneratorNoise(generator), **self.told).clone()
            return x, model.log_prob(x, cond) - self.start.log_prob(x, cond)
        with recorded(model, Path()) as path:
            x = model.sample(n, cond, GeneratorNoise(generator), steps=self.steps, solver="stochastic")
        return x, path.kl(self._followed(path, n, cond, generator), n)

    def _listed_kl(self, model: GenerativeModel, device: torch.device) -> Tensor | None:
        """sum p log p / p_start over all examples there can be; None where they are too many, or conditions differ."""
        vocab, size = self.spec.vocab, math.prod(self.spec.shape)
        if not model.scored or not vocab or size * math.log(vocab) > math.log(LISTED) + 1e-9:
            return None
        if self.spec.classes or self.spec.context:
            return None
        place = vocab ** torch.arange(size - 1, -1, -1, device=device)
        every = (torch.arange(vocab**size, device=device)[:, None] // place % vocab).view(-1, *self.spec.shape)
        log_p, log_q = (
            torch.cat([one.log_prob(part, {}) for part in every.split(4096)]).double() for one in (model, self.start)
        )
        return (log_p.exp() * (log_p - log_q)).sum()

    def judge(self, numbers: Mapping[str, float]) -> Verdict:
        name, kl = next((name, numbers[name]) for name in KL_BUDGET if name in numbers)
        budget = self.kl_budget or KL_BUDGET[name]
        before = "checkpoints/best is the one before" if self.kept > 0 else "lower trainer.lr and trainer.val_every"
        if kl > budget:
            return Verdict(False, f"{kl:.1f} nats a sample from the start, kl_budget is {budget:g}; {before}")
        fallen = False
        if "gold" in numbers:
            gold, reward = numbers["gold"], numbers["reward"]
            best, there, error = self.peak.tolist()
            fallen = gold < best - 2 * math.hypot(error, numbers["gold_error"]) and reward > there
            self.falls.fill_(self.falls + 1 if fallen else 0)
            if gold > best:
                self.peak.copy_(torch.tensor([gold, reward, numbers["gold_error"]]))
            if self.falls >= self.patience:
                why = f"the gold reward fell from {best:.4g} to {gold:.4g} while the reward rose from {there:.4g} to"
                return Verdict(False, f"{why} {reward:.4g}; {before}")
        if not fallen:
            self.kept += 1
        return Verdict(not fallen)


def no_matter(device: torch.device) -> GeneratorNoise:
    """Noise that nothing depends on."""
    return GeneratorNoise(torch.Generator(device).manual_seed(0))
