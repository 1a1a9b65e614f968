"""The whole contract between data, models, objectives and the trainer. READ ME FIRST.

    Data --batch--> Objective --loss--> GenerativeModel          (training)
    GenerativeModel --sample--> Data --write--> files            (sampling)

A new modality is one class of `Data` (and a network where none fits); a new objective is one class of `Objective`.
Each works with all of the other.

Legend: B examples of a batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from genzoo.draws import Noise
from genzoo.errors import UserError

if TYPE_CHECKING:
    from genzoo.page.items import Exhibit


Part = TypeVar("Part", bound=Callable[..., Any])


def part(thing: Part) -> Part:
    """Marks a function, or a class that is no network, as one that a configuration may name. Calling it with whatever
    arguments must harm nobody: configurations come from strangers too. `Data` and networks need no mark."""
    thing.__genzoo_part__ = True
    return thing


@dataclass(frozen=True)
class Spec:
    """What one example looks like to a model. Plain values, made by the data, saved with the weights.

    shape: of one example in model space, without the batch axis.
    vocab: number of tokens where x holds tokens (int64), 0 where it is continuous (float32).
    classes: number of labels, 0 where there are none.
    context: shapes of further conditions by name, without the batch axis; -1 for an axis of any length.
    """

    shape: tuple[int, ...]
    vocab: int = 0
    classes: int = 0
    context: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Spec":
        context = {name: tuple(shape) for name, shape in values.get("context", {}).items()}
        return cls(tuple(values["shape"]), values.get("vocab", 0), values.get("classes", 0), context)


@dataclass
class Batch:
    """x: [B, *shape]; cond: named tensors [B, ...]: `label` [B] (int64), `prefix` [B, P] (tokens before x), …"""

    x: Tensor
    cond: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.cond.items():
            assert len(value) == len(self.x), f"condition {name!r} has {len(value)} rows, x has {len(self.x)}"

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice) -> "Batch":
        return Batch(self.x[rows], {name: value[rows] for name, value in self.cond.items()})

    def to(self, device: torch.device | str) -> "Batch":
        moved = {name: value.to(device, non_blocking=True) for name, value in self.cond.items()}
        return Batch(self.x.to(device, non_blocking=True), moved)


@dataclass(frozen=True)
class Request:
    """What a person asks for, made by `Data.request` and kept by nobody but the samples that come of it.

    n: samples. cond: conditions of the model by name, [n, ...] each. options: further ones of `GenerativeModel.sample`;
    a tensor among them has a row a sample. titles: a few words for each sample, or none at all.
    show: how samples are to be written and drawn, a frozen dataclass of the modality's own.
    """

    n: int
    cond: Mapping[str, Tensor] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    titles: Sequence[str] = ()
    show: Any = None

    def __getitem__(self, rows: slice) -> "Request":
        """Of some of the samples."""
        cond = {name: value[rows] for name, value in self.cond.items()}
        options = {name: value[rows] if isinstance(value, Tensor) else value for name, value in self.options.items()}
        return replace(self, n=len(range(self.n)[rows]), cond=cond, options=options, titles=self.titles[rows])

    def title(self, i: int) -> str:
        return self.titles[i] if self.titles else ""


class Loss(NamedTuple):
    """value: [B], one number an example, because objectives reweight them.

    x_hat: the model's present estimate of the clean data [B, *shape], where it has one; penalties act on it.
    logs: further numbers to write down, each a scalar tensor.
    """

    value: Tensor
    x_hat: Tensor | None = None
    logs: Mapping[str, Tensor] = {}


Piece = tuple[Tensor, Mapping[str, Tensor]]
"""Samples [n, *shape] and the conditions that they were made under."""

Sampler = Callable[[Mapping[str, Tensor], int], Tensor]
"""sample(cond, seed) gives an example for each row of cond, on the CPU; equal seeds give row i equal noise."""


class Verdict(NamedTuple):
    """What an objective makes of a validation.

    best: whether these weights are the best so far; None where the least loss says so. stop: why the run ends here.
    """

    best: bool | None = None
    stop: str | None = None


@part
class Data(ABC):
    """Where examples come from, and what becomes of samples.

    A constructor opens no file. `prepare` does, and fits what must be fitted (vocabulary, mean and std, sample rate);
    that is `state_dict`, plain values and tensors that travel in the checkpoint, so that sampling never needs the
    training data.
    """

    scores: str = "genzoo.contract.Scores"
    """The class of its scores, as `package.module.Class`: only who scores imports it."""

    unit: str = "element"
    """What a likelihood is counted in: "character", "sample", "bit" ..."""

    stop: Callable[[Tensor], Tensor] | None = None
    """Of tokens that end by themselves: which samples are done, [n], after their tokens so far [n, t]. -1 follows."""

    @abstractmethod
    def prepare(self) -> None:
        """Finds and checks the files, fits the state where it is not loaded yet, reads what is needed to train."""

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """Known after `prepare` or `load_state_dict`."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Known after `prepare`. "train" is learned from, "val" chooses the weights, and figures are of "test", where
        there is one. Where there is none they are of "val", and then of the last weights, which nothing chose."""
        return ("train", "val")

    @abstractmethod
    def batch(self, step: int, size: int, split: str, rows: range | None = None) -> Batch:
        """Some rows of the batch of `size` examples at `step`; all of them by default.

        A pure function of (the data's seed, split, step, size, row): resuming needs no loader state, and any number of
        processes, each making its own rows, sees the same whole batch.
        """

    @abstractmethod
    def sweep(self, split: str, size: int) -> Iterator[Batch]:
        """Every example of a split once, in a fixed order, in batches of at most `size`: for scores."""

    def report(self) -> list[str]:
        """What was read, passed over and changed, in lines that are said before anything is learned
        (`genzoo.sources.Report`). Known after `prepare`."""
        return []

    def check_split(self, split: str) -> None:
        """UserError where there is no such split."""
        there = self.splits or ("train", "val")
        if split not in self.splits:
            raise UserError(f"split is {' or '.join(there)} for this data, not {split!r}")

    def units(self, split: str) -> int:
        """How many `unit`s one `sweep` of the split scores."""
        return sum(batch.x.numel() for batch in self.sweep(split, 64))

    def request(self, n: int, **words: Any) -> Request:
        """A person's wishes (`prompt=`, `label=`, `context=clip.mp4`) for n samples. Its keyword arguments are keys of
        `genzoo sample`. It keeps nothing: what files and pictures need of the wishes, `Request.show` carries."""
        assert not words, f"no such wish: {words}"
        return Request(n)

    @abstractmethod
    def write(self, x: Tensor, path: Path, request: Request) -> Path:
        """Writes one example [*shape] as a file that other programs open; path has no suffix yet. Returns the file."""

    def write_all(self, samples: Tensor, folder: Path, request: Request) -> list[Path]:
        """Writes several examples into a folder that is there: a file each, unless one file serves better."""
        return [self.write(x, folder / f"{i:03d}", request) for i, x in enumerate(samples)]

    def preview(self, samples: Tensor, path: Path, request: Request) -> Path | None:
        """Draws several examples into one picture; path has no suffix yet."""
        return None

    def describe(self, x: Tensor, request: Request) -> str:
        """One example as a few words for a terminal, "" where words do not serve."""
        return ""

    def exhibits(self, pieces: Sequence[Piece], folder: Path, request: Request) -> "list[Exhibit]":
        """What a page shows of samples: pieces as of `write_rollout`, and the one piece [n, *shape] where examples do
        not go on in time. folder: an empty one to work in. Here: their words, or else their preview."""
        from genzoo.page.items import Words, still

        samples = pieces[0][0]
        said = [self.describe(x, request) for x in samples]
        if any(said):
            return [Words(text=words) for words in said]
        file = self.preview(samples, folder / "preview", request)
        return [still(file, alt=f"{len(samples)} samples")] if file else []

    def play(self, chunks: Iterator[Tensor], out: BinaryIO, request: Request) -> None:
        """Writes one example to a terminal or a pipe while it is being made, from pieces along its first axis."""
        raise UserError("such samples cannot be shown while they are made: leave stream out")

    def follow(self, x: Tensor, cond: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Conditions of the pieces that come after x [n, *shape], which was made under `cond`: where examples go on in
        time (forecasts, clips), `genzoo sample rollout=10` makes ten, each from the one before."""
        raise NotImplementedError

    def write_rollout(self, pieces: Iterator[Piece], folder: Path, request: Request) -> list[Path]:
        """Writes a roll-out into a folder that is there, each piece [n, *shape] with its conditions as it comes."""
        raise NotImplementedError

    def fingerprint(self, split: str) -> str:
        """SHA-256 of what a score was measured on."""
        return ""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What was fitted, as plain values (JSON), and tensors in dictionaries of them."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes what `state_dict` gave."""


class Scores:
    """What samples are scored by, made of the prepared data. The keyword arguments are keys of `genzoo evaluate`."""

    def __init__(self, data: Data) -> None:
        self.data = data

    def metrics(self, samples: Tensor, split: str, request: Request, **options: Any) -> dict[str, Any]:
        """Of samples [n, *shape], made as the request says, against a split."""
        return {}

    def conditional_metrics(self, sample: Sampler, split: str, **options: Any) -> dict[str, Any]:
        """Of samples under conditions that these scores choose (forecasts, completions): each told the condition, told
        nothing, and told another's (`metrics.controls`)."""
        return {}

    def law_metrics(self, log_prob: Callable[[Tensor], Tensor], split: str) -> dict[str, Any]:
        """Of the likelihood itself, where the law of the data is known: log_prob gives the model's log p(x) in nats [B]
        for examples [B, *shape]."""
        return {}


class GenerativeModel(nn.Module, ABC):
    """A family: how x becomes a loss, and noise becomes x.

    pathwise: whether a gradient can flow from a sample back to the weights.
    estimates: whether `loss` gives x_hat.
    """

    pathwise: bool = False
    estimates: bool = False
    spec: Spec

    @property
    def scored(self) -> bool:
        """Whether there is a likelihood."""
        return type(self).log_prob is not GenerativeModel.log_prob

    def initialise(self, data: Data) -> None:
        """Sets those first weights and constants that depend on the data, here: of every part that has this method.
        Called once, before the first step of a new run."""
        for part in self.modules():
            if part is not self and hasattr(part, "initialise"):
                part.initialise(data)

    @abstractmethod
    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> Loss:
        """The model's own loss. All randomness but dropout comes from the generator."""

    def start_from(self, weights: Mapping[str, Tensor]) -> None:
        """Takes the weights of a trained model to go on from (`init=`). RuntimeError where they do not fit."""
        self.load_state_dict(weights)

    def forward(self, *inputs: Any, call: str = "loss", **options: Any) -> Any:
        """`loss`, or the method that `call` names (`log_prob`, `sample`), so that wrappers for several devices work."""
        return getattr(self, call)(*inputs, **options)

    @abstractmethod
    def sample(self, n: int, cond: Mapping[str, Tensor], noise: Noise, **options: Any) -> Tensor:
        """n examples [n, *shape], on the noise's device. Options are the family's own and keyword-only."""

    def log_prob(self, x: Tensor, cond: Mapping[str, Tensor]) -> Tensor | None:
        """log p(x | cond) in nats, [B]; None where it cannot be had."""
        return None

    def portrait(self, folder: Path) -> "list[Exhibit]":
        """What a page shows of the model itself: a circuit, say. folder: an empty one to work in."""
        return []


class Objective(nn.Module, ABC):
    """What is minimised, in turns. Each turn trains the module of its name: "model" is the generative model, any other
    name is a module of the objective (a critic), with an optimizer of its own.

    An objective whose configuration says `_partial_: true` is made from the data's `Spec`, as models are.

    tunes: whether it goes on from a trained model, which `init=` must then name, and which is validated before the
    first step as well. rates: of a turn's learning rates over those of the trainer, 1 where it is not named.
    """

    turns: tuple[str, ...] = ("model",)
    tunes: bool = False
    rates: Mapping[str, float] = {}

    def check(self, model: GenerativeModel) -> None:
        """ValueError where this objective cannot train this model; asked before a run begins."""

    def initialise(self, data: Data) -> None:
        """Takes from the data what it must know (units, a grid); called each time a run begins or goes on."""

    def begin(self, model: GenerativeModel) -> None:
        """Takes from the model, with its first weights, what it must know; called each time a run begins or goes on,
        after `initialise`, and before what was saved is loaded."""

    def measure(self, model: GenerativeModel, generator: torch.Generator) -> dict[str, Tensor]:
        """Further numbers of a validation of the averaged model. Means over the processes are taken."""
        return {}

    def judge(self, numbers: Mapping[str, float]) -> Verdict:
        """What becomes of the run after a validation with these numbers."""
        return Verdict()

    @abstractmethod
    def loss(
        self, turn: str, modules: Mapping[str, Callable[..., Any]], batch: Batch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A scalar to minimise, and numbers to write down. The batch may be part of the global one; take means.

        modules: what is trained, by turn, wrapped for the devices there are: call the one whose turn it is through
        this.
        """
