"""The contract kit: small classes, each broken in one way, and what the kit says of it in one line."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from genzoo.contract import Batch, Data, GenerativeModel, Loss, Request, Spec
from genzoo.draws import torch_generator
from genzoo.errors import UserError
from genzoo.testing import cheap_checks, check_data, check_model
from genzoo.testing.cases import global_state


class Good(Data):
    """Points around the centre of their class; as tokens, signs of their coordinates."""

    def __init__(self, *, vocab=0):
        self.vocab, self.mean, self.place = vocab, None, {}

    def prepare(self):
        self.mean = 0.5 if self.mean is None else self.mean
        self.place = {"train": range(40), "val": range(40, 50)}

    @property
    def spec(self):
        assert self.mean is not None
        return Spec((3,), self.vocab, classes=2, context={"more": (-1,)})

    def of(self, places):
        x = torch.stack([self.mean + torch.randn(3, generator=torch_generator("good", i)) for i in places])
        label = torch.tensor([i % 2 for i in places])
        x = (x > 0).long() if self.vocab else x
        return Batch(x, {"label": label, "more": x[:, :2].float()})

    def batch(self, step, size, split, rows=None):
        mine = self.place[split]
        return self.of([mine[(step * size + row) % len(mine)] for row in (range(size) if rows is None else rows)])

    def sweep(self, split, size):
        mine = self.place[split]
        for i in range(0, len(mine), size):
            yield self.of(mine[i : i + size])

    def request(self, n, *, label=0):
        return Request(n, {"label": torch.full((n,), label)})

    def write(self, x, path, request):
        file = path.with_suffix(".txt")
        file.write_text(str(x.tolist()))
        return file

    def fingerprint(self, split):
        return hashlib.sha256(repr([batch.x.tolist() for batch in self.sweep(split, 8)]).encode()).hexdigest()

    def state_dict(self):
        return {"mean": self.mean}

    def load_state_dict(self, state):
        self.mean = state["mean"]


class Bell(GenerativeModel):
    """A normal distribution a class, of width 1."""

    estimates = True

    def __init__(self, spec):
        super().__init__()
        self.spec, self.mean = spec, nn.Parameter(torch.zeros(spec.classes, *spec.shape))

    def loss(self, batch, generator=None):
        mean = self.mean[batch.cond["label"]]
        return Loss((batch.x - mean).square().mean(dim=1), x_hat=mean)

    def sample(self, n, cond, noise, *, length=None):
        return self.mean[cond["label"]] + noise.normal(n, 3)

    def log_prob(self, x, cond):
        return -(x - self.mean[cond["label"]]).square().sum(dim=1) / 2


def prepared(kind=Good, **options):
    data = kind(**options)
    data.prepare()
    return data


def test_good_ones_pass():
    """And nothing is left behind: neither in the model nor in the random numbers of the process."""
    for vocab in (0, 2):
        check_data(prepared(vocab=vocab), make=lambda vocab=vocab: Good(vocab=vocab), wishes={"label": 1})
    data, model = prepared(), Bell(prepared().spec).train()
    before, weights = global_state(), model.mean.clone()
    check_model(model, data, make=lambda: Bell(data.spec))
    cheap_checks(data, model)
    assert global_state() == before
    assert torch.equal(model.mean, weights)
    assert model.mean.grad is None
    assert model.training


# ---- data


class Wide(Good):
    def of(self, places):
        return Batch(torch.zeros(len(places), 4), super().of(places).cond)


class Double(Good):
    def of(self, places):
        return Batch(super().of(places).x.double(), super().of(places).cond)


class Holes(Good):
    def of(self, places):
        return Batch(super().of(places).x / 0, super().of(places).cond)


class FloatLabels(Good):
    def of(self, places):
        found = super().of(places)
        return Batch(found.x, found.cond | {"label": found.cond["label"].float()})


class LabelsFromOne(Good):
    def of(self, places):
        found = super().of(places)
        return Batch(found.x, found.cond | {"label": found.cond["label"] + 1})


class Unlabelled(Good):
    def of(self, places):
        return Batch(super().of(places).x)


class FlatContext(Good):
    def of(self, places):
        found = super().of(places)
        return Batch(found.x, found.cond | {"more": found.x[:, 0]})


class Late(Good):
    def of(self, places):
        found = super().of(places)
        return Batch(torch.where(found.x == 0, -1, found.x), found.cond)


class Short(Good):
    def of(self, places):
        found = super().of(places)
        return Batch(found.x[:, :2], found.cond)


class Cut(Short):
    """Examples that end by themselves, and behind the longest of them the batch."""

    def of(self, places):
        found = super().of(places)
        found.x[:, 1] = -1
        return found


class Unread(Good):
    def batch(self, step, size, split, rows=None):
        raise UserError("data.path=x.wav cannot be read: leave it out")


class Dice(Good):
    def batch(self, step, size, split, rows=None):
        found = super().batch(step, size, split, rows)
        return Batch(found.x + torch.from_numpy(np.random.rand(len(found), 3)).float(), found.cond)


class Reader(Good):
    """A loader as one often has them: the next rows, whatever the step."""

    at = 0

    def batch(self, step, size, split, rows=None):
        self.at += 1
        return super().batch(self.at, size, split, rows)


class Whole(Good):
    def batch(self, step, size, split, rows=None):
        return super().batch(step, size if rows is None else len(rows), split)


class Still(Good):
    def batch(self, step, size, split, rows=None):
        return super().batch(0, size, split, rows)


class Ends(Good):
    def batch(self, step, size, split, rows=None):
        return self.of(self.place[split][3:5])


class OneSplit(Good):
    def prepare(self):
        super().prepare()
        self.place["val"] = self.place["train"]


class NoSweep(Good):
    def sweep(self, split, size):
        yield from ()


class WideSweep(Good):
    def sweep(self, split, size):
        return super().sweep(split, 2 * size)


class NoRest(Good):
    def sweep(self, split, size):
        return (batch for batch in super().sweep(split, size) if len(batch) == size or len(batch) == 10)


class Countless(Good):
    def units(self, split):
        return 0


class Nameless(Good):
    def fingerprint(self, split):
        return ""


class OneName(Good):
    def fingerprint(self, split):
        return "all of it"


class Forgetful(Good):
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Lottery(Good):
    """Draws its split from the process."""

    def prepare(self):
        super().prepare()
        kept = np.random.default_rng().choice(50, 10, replace=False).tolist()
        self.place = {"train": [i for i in range(50) if i not in kept], "val": kept}


class NoJson(Good):
    def state_dict(self):
        return {"mean": np.float32(self.mean)}


class OneRow(Good):
    def request(self, n, *, label=0):
        return Request(n, {"label": torch.zeros(1, dtype=torch.int64)})


class NoFile(Good):
    def write(self, x, path, request):
        return path.with_suffix(".txt")


DATA = {
    Wide: "'examples fit the spec': x has the shape (4, 4), spec.shape is (3,): give [B, *spec.shape]",
    Double: "x is torch.float64, continuous data (spec.vocab=0) are torch.float32",
    Holes: "x is not finite",
    FloatLabels: "the label is torch.float32 (4,): give class numbers, int64 [B]",
    LabelsFromOne: "labels from 1 to 2, spec.classes is 2: number from 0",
    Unlabelled: "spec.classes is 2 and a batch has no label: give cond['label'] in every batch",
    FlatContext: "cond['more'] is () an example, spec.context says (-1,)",
    Dice: "'batch is pure': it touches the global random state (torch, numpy or random): draw from genzoo.draws",
    Reader: "'batch is pure': batch(1, 4, 'train') gave two different ones",
    Whole: "'rows are obeyed': rows=range(2, 5) are not those rows",
    Still: "'steps differ': every step of train gives the same batch",
    Ends: "'as many rows as asked': batch(0, 1, 'train') has 2 rows",
    OneSplit: "'splits differ': train and val have the same batches",
    NoSweep: "'sweep is not empty': sweep('train') gives nothing",
    WideSweep: "'sweep is in order': sweep('train', 3) has a batch of 6",
    NoRest: "'sweep is whole': sweep('val') has 9 examples by 3 and 10 by 64",
    Countless: "'units are counted': units('val') is 0",
    Nameless: "fingerprint is empty: give the SHA-256",
    OneName: "train and val have one fingerprint",
    Forgetful: "'state travels': it raises AssertionError",
    Lottery: "'other processes see the same': prepared again, train has another batch: draw from genzoo.draws",
    NoJson: "state_dict is no JSON (Object of type float32 is not JSON serializable)",
    OneRow: "'requests have rows': cond['label'] has 1 rows, not 4",
    NoFile: "'samples become files': write returns",
}


@pytest.mark.parametrize("kind", DATA, ids=lambda kind: kind.__name__)
def test_broken_data(kind):
    with pytest.raises(UserError) as error:
        check_data(prepared(kind), make=kind)
    line = str(error.value)
    assert line.startswith(f"{kind.__name__} breaks the contract, ")
    assert DATA[kind] in line
    assert "\n" not in line


def test_fillers_stand_behind_tokens():
    with pytest.raises(UserError, match="x has -1 before a token"):
        check_data(prepared(Late, vocab=2))
    with pytest.raises(UserError, match=r"x has the shape \(4, 2\), spec\.shape is \(3,\)"):
        check_data(prepared(Short, vocab=2))
    check_data(prepared(Cut, vocab=2))
    with pytest.raises(UserError, match=r"x has tokens from 0 to 1, spec\.vocab is 1"):
        check_data(prepared(vocab=1))


# ---- models


class Mean(Bell):
    def loss(self, batch, generator=None):
        return Loss(super().loss(batch).value.mean())


class Bare(Bell):
    def loss(self, batch, generator=None):
        return super().loss(batch).value


class Deaf(Bell):
    def loss(self, batch, generator=None):
        return Loss(self.mean.square().sum().expand(len(batch)))


class Counting(Bell):
    """Keeps what it has seen beside its weights."""

    seen = 0

    def loss(self, batch, generator=None):
        self.seen += 1
        return Loss(super().loss(batch).value * self.seen)


class Noisy(Bell):
    def loss(self, batch, generator=None):
        return Loss(super().loss(batch).value + torch.rand(len(batch)))


class Detached(Bell):
    def loss(self, batch, generator=None):
        return Loss(super().loss(batch).value.detach(), x_hat=batch.x)


class Root(Bell):
    def loss(self, batch, generator=None):
        return Loss(super().loss(batch).value + (self.mean - self.mean).square().sum().sqrt())


class Ten(Bell):
    def sample(self, n, cond, noise):
        return noise.normal(n, 3)[:1].expand(10, 3)


class Tokens(Bell):
    def sample(self, n, cond, noise):
        return super().sample(n, cond, noise).long()


class Global(Bell):
    def sample(self, n, cond, noise):
        return self.mean[cond["label"]] + torch.randn(n, 3)


class Drift(Bell):
    """Each sample goes on from the one before."""

    last = 0.0

    def sample(self, n, cond, noise):
        self.last = super().sample(n, cond, noise) + 0.5 * self.last
        return self.last


class Same(Bell):
    def sample(self, n, cond, noise):
        return self.mean[cond["label"]] + 0 * noise.normal(n, 3)


class Mixed(Bell):
    def sample(self, n, cond, noise):
        x = super().sample(n, cond, noise)
        return x - x.mean(dim=0)


class Sum(Bell):
    def log_prob(self, x, cond):
        return super().log_prob(x, cond).sum()


class NoEstimate(Bell):
    def loss(self, batch, generator=None):
        return super().loss(batch)._replace(x_hat=None)


class Fitted(Bell):
    """Learns the spread of the data, and keeps it where no checkpoint finds it."""

    spread = 1.0

    def initialise(self, data):
        self.spread = float(data.batch(0, 32, "train").x.std())

    def loss(self, batch, generator=None):
        return Loss(super().loss(batch).value / self.spread, x_hat=batch.x)


MODELS = {
    Mean: "'loss is of each example': the loss of 4 examples is torch.float32 (): give one float an example, [B]",
    Bare: "loss returns Tensor: return genzoo.contract.Loss(value)",
    Deaf: "'loss depends on the batch': four different batches have the same loss",
    Counting: "'loss is pure': the same batch and generator gave two losses",
    Noisy: "'loss is pure': it touches the global random state",
    Detached: "'gradient reaches parameters': the loss has no gradient",
    Root: "the gradient of mean is no number",
    Ten: "'samples fit the spec': 4 samples have the shape (10, 3): give [n, *shape], here (4, 3)",
    Tokens: "x is torch.int64, continuous data (spec.vocab=0) are torch.float32",
    Global: "'samples depend on the noise only': it touches the global random state",
    Drift: "the same noise gave two samples: draw from the noise and remember nothing",
    Same: "other noise gives the same samples",
    Mixed: "'samples do not know of each other'",
    Sum: "'likelihood is of each example': log_prob of 4 examples is ()",
    NoEstimate: "'estimate has the shape of x': x_hat is None, x (4, 3)",
    Fitted: "with the same weights, another such model has another loss: keep state in buffers",
}


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_broken_models(kind):
    data = prepared()
    model = kind(data.spec)
    model.initialise(data)
    with pytest.raises(UserError) as error:
        check_model(model, data, make=lambda: kind(data.spec))
    line = str(error.value)
    assert line.startswith(f"{kind.__name__} breaks the contract, ")
    assert MODELS[kind] in line
    assert "\n" not in line


def test_samples_of_another_length():
    """Where the sampler is told so, and then exactly so many."""
    data = prepared()
    with pytest.raises(UserError, match=r"4 samples have the shape \(4, 3\): give \[n, \*shape\], here \(4, 7\)"):
        check_model(Bell(data.spec), data, sampling={"length": 7})


@pytest.mark.parametrize("kind", [Wide, FloatLabels, LabelsFromOne, Unlabelled, Ends, Mean, Bare])
def test_cheap_checks(kind):
    """What training sees before its first step, in a moment."""
    data = prepared(kind if issubclass(kind, Data) else Good)
    model = (kind if issubclass(kind, GenerativeModel) else Bell)(replace(data.spec))
    with pytest.raises(UserError, match=f"^{kind.__name__} breaks the contract, "):
        cheap_checks(data, model)


def test_what_a_class_says_itself():
    """A file that cannot be read is no breach of the contract, and has a line of its own."""
    with pytest.raises(UserError, match=r"^data\.path=x\.wav cannot be read: leave it out$"):
        cheap_checks(prepared(Unread), Bell(prepared().spec))
