"""Bit strings as examples: pure batches, files that say where they are wrong, samples as files, and scores."""

import hashlib
import json
import math

import pytest
import torch
from torch import Tensor

from genzoo.config import scores_of
from genzoo.contract import Data
from genzoo.draws import torch_generator
from genzoo.errors import UserError
from genzoo_born import metrics
from genzoo_born.data import BornData, read_bits
from genzoo_born.hypercube import mmd2, mmd2_to_law, numbers, strings
from genzoo_born.laws import BarsAndStripes, Blobs, Cardinality, Ising

COUNTED = "".join(",".join(f"{i:06b}") + "\n" for i in range(50))
"""Each string its own number."""


def prepared(**options) -> BornData:
    """A BornData that is ready."""
    data = BornData(**options)
    data.prepare()
    return data


@pytest.fixture
def file(tmp_path):
    """Writes a CSV file and returns its path."""

    def written(text: str, name: str = "bits.csv") -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return written


# ---- batches


def test_spec():
    """An example is a string of bits, which are tokens; a score is counted in strings."""
    data = prepared(rows=2, columns=3, strings=10)
    assert isinstance(data, Data)
    assert data.spec.to_dict() == {"shape": (6,), "vocab": 2, "classes": 0, "context": {}}
    x = data.batch(0, 4, "train").x
    assert x.shape == (4, 6)
    assert x.dtype == torch.int64
    assert data.unit == "string"
    assert data.units("train") == data.units("val") == 10


def test_constructor_opens_nothing(tmp_path):
    """A path is read by `prepare`, not before."""
    data = BornData(path=str(tmp_path / "nowhere.csv"))
    with pytest.raises(UserError, match=r"nowhere\.csv"):
        data.prepare()


@pytest.mark.parametrize("size", [1, 9, 15, 45])
def test_an_epoch_visits_each_string_once(file, size):
    """45 strings are trained on, in a new order each epoch; another seed has other orders."""
    path = file(COUNTED)
    data, other = prepared(path=path), prepared(path=path, seed=1)
    orders = []
    for made in (data, other):
        for epoch in (0, 1, 4):
            steps = range(epoch * 45 // size, (epoch + 1) * 45 // size)
            orders.append([n for step in steps for n in numbers(made.batch(step, size, "train").x).tolist()])
    assert all(sorted(order) == list(range(45)) for order in orders)
    assert len(set(map(tuple, orders))) == 6


def test_sweep(file):
    """Every string of a split once, in the file's order, in batches of at most so many."""
    data = prepared(path=file(COUNTED))
    for split, want in (("train", range(45)), ("val", range(45, 50))):
        batches = list(data.sweep(split, 7))
        assert all(len(batch) <= 7 for batch in batches)
        assert numbers(torch.cat([batch.x for batch in batches])).tolist() == list(want)
        assert data.units(split) == len(want)
    with pytest.raises(UserError, match="train or val.*'test'"):
        next(data.sweep("test", 4))


# ---- laws by name


@pytest.mark.parametrize(
    ("path", "law"), [("bas", BarsAndStripes), ("blobs", Blobs), ("ising", Ising), ("cardinality", Cardinality)]
)
def test_named_laws(path, law):
    """Strings of the law, as many as asked for; training and validation differ, and another seed gives others."""
    data = prepared(path=path, rows=3, columns=2, strings=200)
    assert type(data.law) is law
    assert data.law.bits == data.bits == 6
    for split in ("train", "val"):
        assert data.x[split].shape == (200, 6)
        valid = data.law.valid(data.x[split])
        assert valid is None or valid.all()
    assert not torch.equal(data.x["train"], data.x["val"])
    other = prepared(path=path, rows=3, columns=2, strings=200, seed=1)
    assert not torch.equal(data.x["train"], other.x["train"])
    assert torch.equal(data.x["val"], prepared(path=path, rows=3, columns=2, strings=200).x["val"])


def test_constants_of_laws():
    """flip, peaks, temperature, ones and seed reach the law."""
    assert prepared(path="cardinality", rows=2, columns=3, strings=5).law.ones == 3
    assert prepared(path="cardinality", rows=2, columns=3, strings=5, ones=1).law.ones == 1
    blobs = prepared(peaks=3, flip=0.2, strings=5).law
    assert blobs.flip == 0.2
    assert blobs.peaks_kn.shape == (3, 16)
    ising = prepared(path="ising", rows=2, columns=2, temperature=0.5, seed=7, strings=5).law
    assert torch.equal(ising.table(), Ising(2, 2, temperature=0.5, seed=7).table())


@pytest.mark.parametrize(("path", "count"), [("bas", 22), ("cardinality", 20)])
def test_each_string_once(path, count):
    """strings=null takes a uniform law's whole support, for training and for validation."""
    options = {"rows": 2, "columns": 3} if path == "cardinality" else {"rows": 4, "columns": 3}
    data = prepared(path=path, strings=None, **options)
    for split in ("train", "val"):
        x = data.x[split]
        assert len(x) == len(x.unique(dim=0)) == count
        assert data.law.valid(x).all()


@pytest.mark.parametrize(
    "options", [{}, {"path": "ising"}, {"path": "bas", "rows": 17, "columns": 2}, {"path": "cardinality", "rows": 7}]
)
def test_no_list_to_take(options):
    """strings=null of a law that is not uniform, or cannot be listed, is refused with the mend."""
    with pytest.raises(UserError, match=rf"data\.strings=null.*give a number for {options.get('path', 'blobs')}"):
        prepared(strings=None, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rows": 0}, r"data\.rows and data\.columns must be at least 1, not 0 and 4"),
        ({"columns": -2}, r"data\.rows and data\.columns must be at least 1, not 4 and -2"),
        ({"strings": 1}, r"data\.strings must be at least 2, not 1"),
        ({"val_fraction": 0.0}, r"data\.val_fraction must lie between 0 and 1"),
        ({"val_fraction": 1.0}, r"data\.val_fraction must lie between 0 and 1"),
        ({"peaks": 0}, r"data\.peaks must be at least 1, not 0"),
        ({"flip": 0.5}, r"data\.flip"),
        ({"path": "cardinality", "ones": 17}, r"data\.ones"),
        ({"path": "ising", "temperature": 0.0}, r"data\.temperature"),
        ({"path": "ising", "rows": 5, "columns": 5}, r"data\.path=ising .*at most 24, not 25"),
    ],
)
def test_options_out_of_range(options, said):
    """Refused by key."""
    with pytest.raises(UserError, match=said):
        prepared(**options)


# ---- files


@pytest.mark.parametrize(
    "text",
    ["0,1,1\n1,0,0\n", "0 1 1\n1 0 0", "0, 1, 1\r\n1, 0, 0\r\n", "\n0\t1 1\n\n1,0,0\n\n", "-1,1,1\n1,-1,-1\n",
     "-1 +1 +1\n+1 -1 -1\n"],
)  # fmt: skip
def test_read_bits(file, text):
    """Commas, blanks, empty lines, line ends of any system; spins, of which -1 is 0."""
    assert read_bits(file(text)).tolist() == [[0, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0,1\n1,1\n\n0,2\n", r"line 4: '2' is not 0 or 1"),
        ("a,b\n0,1\n", r"line 1: 'a' is not 0 or 1"),
        ("0,1\n1,0.0\n", r"line 2: '0\.0' is not 0 or 1"),
        ("1,-1\n-1,0\n", r"line 2: '0' is not -1 or 1"),
        ("0,1\n\n0,1,1\n", r"line 3: 3 bits, and 2 in the first line"),
        ("0,1,1\n0\n", r"line 2: 1 bits, and 3 in the first line"),
        ("01,1\n", r"line 1: '01' is not 0 or 1"),
        ("", r"holds no strings"),
        ("\n , \n", r"holds no strings"),
    ],
)
def test_wrong_files(file, text, said):
    """The file and the line are named, and what stands there, wherever the file is asked for."""
    path = file(text)
    good = file("0,1\n" * 20, "good.csv")
    for options in ({"path": path}, {"path": good, "val_path": path}, {"peaks": path}, {"path": good, "peaks": path}):
        with pytest.raises(UserError, match=rf"bits\.csv {said}"):
            prepared(**options)


def test_unreadable_files(tmp_path):
    """No file, a folder, and what is no text: the path is named, and for a name the laws there are."""
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    for name, said in (
        ("nowhere.csv", ": there is no such CSV file of bits, nor is it one of bas, blobs, ising, cardinality"),
        ("", r" cannot be read \(.*Is a directory"),
        ("binary.csv", " cannot be read .*is it damaged, or of another kind"),
    ):
        with pytest.raises(UserError, match=f"data.path={tmp_path / name}{said}"):
            read_bits(str(tmp_path / name))


def test_splits_of_a_file(file):
    """The last part validates, unless there is a file for that."""
    path = file(COUNTED)
    data = prepared(path=path, val_fraction=0.3)
    assert numbers(data.x["train"]).tolist() == list(range(35))
    assert numbers(data.x["val"]).tolist() == list(range(35, 50))
    data = prepared(path=path, val_path=file("1,1,1,1,1,1\n", "val.csv"))
    assert numbers(data.x["train"]).tolist() == list(range(50))
    assert numbers(data.x["val"]).tolist() == [63]
    assert data.law is None
    assert data.spec.shape == (6,)


def test_files_that_do_not_fit(file):
    """Too few strings for two parts, or parts of other lengths, or peaks of another."""
    path = file(COUNTED)
    with pytest.raises(UserError, match=r"one\.csv holds too few strings"):
        prepared(path=file("0,1\n", "one.csv"))
    with pytest.raises(UserError, match=r"val\.csv: strings not as long as those of .*bits\.csv"):
        prepared(path=path, val_path=file("1,0\n", "val.csv"))
    with pytest.raises(UserError, match=r"data\.peaks=.*peaks\.csv has 2 bits, and data\.path 6"):
        prepared(path=path, peaks=file("1,0\n", "peaks.csv"))


def test_peaks_of_a_file(file):
    """A CSV of peaks is the law of blobs, whatever rows and columns say; with a CSV of strings, the law to score by."""
    peaks = file("1,1,0,0,0\n0,0,0,1,1\n", "peaks.csv")
    data = prepared(peaks=peaks, flip=0.01, strings=400)
    assert data.spec.shape == (5,)
    nearest = (data.x["train"][:, None] != read_bits(peaks)).sum(2).min(1).values
    assert 0 < nearest.double().mean() < 0.15
    data = prepared(path=file("1,1,0,0,0\n0,0,0,1,0\n" * 9, "strings.csv"), peaks=peaks, flip=0.01)
    assert torch.equal(data.law.table(), Blobs(read_bits(peaks), 0.01).table())


# ---- samples


def test_written_samples_read_back(tmp_path):
    """All samples in one CSV file, a line each, that is data again."""
    data = prepared(rows=2, columns=3, strings=20)
    x = data.x["val"]
    assert data.write_all(x, tmp_path, data.request(1)) == [tmp_path / "samples.csv"]
    assert torch.equal(read_bits(str(tmp_path / "samples.csv")), x)
    assert data.write(x[3], tmp_path / "000", data.request(1)) == tmp_path / "000.csv"
    assert read_bits(str(tmp_path / "000.csv")).tolist() == [x[3].tolist()]


@pytest.mark.parametrize(
    "options",
    [
        {"path": "bas", "rows": 2, "columns": 3, "strings": None},
        {"rows": 1, "columns": 6, "strings": 70},
        {"rows": 5, "columns": 6, "strings": 3},
        {"path": "bas", "rows": 2, "columns": 2, "strings": 2},
    ],
)
def test_preview(tmp_path, options):
    """A PNG, with or without a shape, a law, and many samples."""
    data = prepared(**options)
    path = data.preview(data.x["train"], tmp_path / "preview", data.request(1))
    assert path == tmp_path / "preview.png"
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    other = data.preview(1 - data.x["train"], tmp_path / "other", data.request(1))
    assert other.read_bytes() != content


def test_preview_of_strings_without_a_law(file, tmp_path):
    """Strings of a file are drawn as rows of bits where they are no picture."""
    data = prepared(path=file(COUNTED))
    assert data.preview(data.x["train"][:1], tmp_path / "one", data.request(1)).is_file()


def test_describe(file):
    """A picture in blocks where rows and columns fit, else the bits in a line."""
    data = BornData(rows=2, columns=3)
    assert data.describe(torch.tensor([1, 0, 0, 0, 1, 1]), data.request(1)) == "██····\n··████"
    assert (
        BornData(rows=1, columns=4).describe(torch.tensor([0, 1, 1, 0]), BornData(rows=1, columns=4).request(1))
        == "0110"
    )
    data = prepared(path=file(COUNTED), rows=4, columns=4)
    assert data.describe(torch.tensor([1, 0, 0, 0, 1, 1]), data.request(1)) == "100011"


def test_state_travels(file, tmp_path):
    """Made from its state, as JSON, the data knows its spec and writes samples without its file."""
    data = prepared(path=file(COUNTED))
    other = BornData(path="/nowhere.csv")
    other.load_state_dict(json.loads(json.dumps(data.state_dict())))
    assert other.spec == data.spec
    assert other.state_dict() == data.state_dict()
    x = data.x["val"]
    assert torch.equal(read_bits(str(other.write_all(x, tmp_path, other.request(1))[0])), x)
    assert other.preview(x, tmp_path / "preview", other.request(1)).is_file()
    assert other.describe(x[0], other.request(1)) == data.describe(x[0], data.request(1))


def test_fingerprint(file):
    """The SHA-256 of how many strings of how many bits, and of a split's bits, a byte each."""
    data = prepared(path=file(COUNTED))
    want = b"5 6\0" + bytes(int(bit) for i in range(45, 50) for bit in f"{i:06b}")
    assert data.fingerprint("val") == hashlib.sha256(want).hexdigest()
    assert data.fingerprint("train") != data.fingerprint("val")


# ---- scores


def test_generalisation_by_hand():
    """Gili et al. 2022, eqs. 3-5: fidelity |G_sol| / |G_new|, rate |G_sol| / Q, coverage |g_sol| / (|S| - T)."""
    solutions, train = {0, 3, 5, 6, 9, 10}, torch.tensor([0, 3, 3, 0, 3])  # T = 2 different strings
    samples = [0, 5, 5, 1, 6, 2, 3, 5]  # Q = 8; unseen: 5 5 1 6 2 5; valid of these: 5 5 6 5
    valid = torch.tensor([x in solutions for x in samples])
    scores = metrics.generalisation(torch.tensor(samples), valid, train, len(solutions))
    assert scores == {"fidelity": 4 / 6, "rate": 4 / 8, "coverage": 2 / 4}
    assert metrics.generalisation(torch.tensor(samples), valid, train, None) == {"fidelity": 4 / 6, "rate": 4 / 8}
    assert metrics.generalisation(torch.tensor(samples), valid, torch.arange(16), 6) == {"fidelity": 0, "rate": 0}


def test_divergences_by_hand():
    """Kullback-Leibler in nats, of the law from the model, with 0 log 0 = 0; total variation as half the distance."""
    p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.5, 0.25])
    assert metrics.kl_divergence(p, q.log()) == pytest.approx(0.5 * math.log(2), rel=1e-7)
    assert metrics.total_variation(p, q) == 0.25
    assert metrics.sample_total_variation(torch.tensor([0, 0, 2, 2]), p) == 0.5
    floor = metrics.total_variation_floor(torch.tensor([0.5, 0.5]), 2, torch_generator("floor"), repeats=400)
    assert floor == pytest.approx(0.25, abs=4 * 0.25 / 20)  # both heads or both tails: 0.5, in half of the cases


def test_metrics_of_true_samples():
    """Samples of the law score as the law's own do: total variation at its floor, squared MMD around zero."""
    data = prepared(rows=2, columns=4, strings=50)
    x = data.law.draw(3000, torch_generator("true"))
    scores = scores_of(data).metrics(x, "val", data.request(1), bandwidths=[0.5, 1])
    names = ("mmd2_0.5", "mmd2_1", "total_variation")
    assert set(scores) == {f"{name}{end}" for name in names for end in ("", "_real")}
    several = [
        scores_of(data).metrics(data.law.draw(3000, torch_generator("true", i)), "val", data.request(1))
        for i in range(10)
    ]
    floor = sum(s["total_variation_real"] for s in several)
    assert sum(s["total_variation"] for s in several) == pytest.approx(floor, rel=0.1)
    assert scores["mmd2_0.5"] == pytest.approx(mmd2_to_law(x, data.law.table(), [0.5]).item())
    wrong = scores_of(data).metrics(1 - x, "val", data.request(1), bandwidths=[0.5, 1])
    for name in ("mmd2_0.5", "mmd2_1"):
        assert abs(scores[name]) < 0.002
        assert abs(scores[f"{name}_real"]) < 0.002
        assert wrong[name] > 0.02
    assert wrong["total_variation"] > 2 * wrong["total_variation_real"]


def test_metrics_by_hand():
    """valid, fidelity, rate and coverage of a few samples of four bits, two of which are one; 3 and 5 were trained."""
    data = prepared(path="cardinality", rows=1, columns=4, strings=3)
    data.x["train"] = strings(4)[[3, 5, 3]]
    samples = strings(4)[[3, 6, 6, 1, 12, 5, 15, 0]]
    scores = scores_of(data).metrics(samples, "val", data.request(1))
    assert set(scores) == {"total_variation", "total_variation_real", "valid", "fidelity", "rate", "coverage"}
    assert scores["valid"] == 5 / 8
    assert scores["fidelity"] == 3 / 6
    assert scores["rate"] == 3 / 8
    assert scores["coverage"] == 2 / 4
    share = [1 / 8, 1 / 8, 2 / 8, 1 / 8]  # of 3, 5, 6, 12; the law gives 1/6 to each of six, 3/8 are outside
    want = 0.5 * (sum(abs(s - 1 / 6) for s in share) + 2 / 6 + 3 / 8)
    assert scores["total_variation"] == pytest.approx(want, abs=1e-12)


def test_metrics_where_all_was_trained_on():
    """With strings=null nothing is held back: how many are valid, and no generalisation."""
    data = prepared(path="bas", rows=2, columns=2, strings=None)
    scores = scores_of(data).metrics(strings(4), "val", data.request(1), bandwidths=[1.0])
    assert scores["valid"] == 6 / 16
    assert set(scores) == {"mmd2_1", "mmd2_1_real", "total_variation", "total_variation_real", "valid"}


def test_metrics_of_a_file(file):
    """Without a law samples are compared with the split, and the training strings beside them."""
    data = prepared(path=file(COUNTED), val_fraction=0.4)
    samples = strings(6)[20:40]
    scores = scores_of(data).metrics(samples, "val", data.request(1), bandwidths=[2.0])
    want = {"mmd2_2": mmd2(samples, data.x["val"], [2.0]), "mmd2_2_real": mmd2(data.x["train"], data.x["val"], [2.0])}
    assert scores == pytest.approx({key: value.item() for key, value in want.items()})
    assert (
        scores_of(data).metrics(samples[:1], "val", data.request(1), bandwidths=[2.0])
        == scores_of(data).metrics(samples, "val", data.request(1))
        == {}
    )


def test_metrics_of_wide_strings():
    """Beyond enumeration a law is scored by the split, and by what needs no list."""
    data = prepared(rows=4, columns=8, strings=60)
    x = data.law.draw(40, torch_generator("wide"))
    scores = scores_of(data).metrics(x, "val", data.request(1), bandwidths=[4.0])
    assert set(scores) == {"mmd2_4", "mmd2_4_real"}
    assert scores["mmd2_4"] == pytest.approx(mmd2(x, data.x["val"], [4.0]).item())
    data = prepared(path="bas", rows=20, columns=20, strings=60)
    scores = scores_of(data).metrics(data.law.draw(40, torch_generator("wide")), "val", data.request(1))
    assert scores == {"valid": 1.0}
    data = prepared(path="bas", rows=20, columns=3, strings=60)
    scores = scores_of(data).metrics(data.law.draw(40, torch_generator("wide")), "val", data.request(1))
    assert scores == {"valid": 1.0, "fidelity": 1.0, "rate": 1.0}


@pytest.mark.parametrize("path", ["bas", "blobs", "ising", "cardinality"])
def test_law_metrics(path):
    """Zero for the law itself; of a uniform model, its entropy's distance from n bits, and half their difference."""
    data = prepared(path=path, rows=2, columns=3, strings=4)
    law = data.law.table()

    def itself(x: Tensor) -> Tensor:
        return law[numbers(x)].clamp(min=1e-300).log()

    def uniform(x: Tensor) -> Tensor:
        return torch.full((len(x),), -6 * math.log(2))

    assert scores_of(data).law_metrics(itself, "val") == pytest.approx(
        {"kl_to_law": 0, "total_variation_to_law": 0}, abs=1e-9
    )
    kl, variation = scores_of(data).law_metrics(uniform, "val").values()
    assert kl == pytest.approx(6 * math.log(2) + torch.special.xlogy(law, law).sum().item(), abs=1e-6)
    assert variation == pytest.approx(0.5 * (law - 1 / 64).abs().sum().item(), abs=1e-6)
    if path in ("bas", "cardinality"):
        count = {"bas": 10, "cardinality": 20}[path]
        assert kl == pytest.approx(6 * math.log(2) - math.log(count), abs=1e-6)
        assert variation == pytest.approx(1 - count / 64, abs=1e-6)


def test_law_metrics_in_portions():
    """More strings than a portion are each asked for once and in order; where no law is known, none is."""
    data = prepared(rows=2, columns=7, strings=4)
    law, asked = data.law.table(), []

    def itself(x: Tensor) -> Tensor:
        asked.append(numbers(x))
        return law[asked[-1]].log()

    assert scores_of(data).law_metrics(itself, "val")["kl_to_law"] == pytest.approx(0, abs=1e-9)
    assert torch.equal(torch.cat(asked), torch.arange(2**14))
    assert scores_of(prepared(rows=5, columns=5, strings=4)).law_metrics(itself, "val") == {}


def test_law_metrics_of_a_file(file):
    """A file without peaks has no law."""
    assert scores_of(prepared(path=file(COUNTED))).law_metrics(lambda x: x, "val") == {}


def test_strings_in_one_word(file):
    """A line may be one word of 0 and 1, and a file may begin with the mark that spreadsheets write."""
    assert read_bits(str(file("\ufeff011\n100\n"))).tolist() == [[0, 1, 1], [1, 0, 0]]


def test_few_strings_have_no_mmd(file):
    """With one string to compare with, and no law, the other scores are left."""
    data = BornData(path=str(file("0,1\n1,0\n")), val_fraction=0.5)
    data.prepare()
    assert scores_of(data).metrics(torch.tensor([[0, 1], [1, 1]]), "val", data.request(1), bandwidths=[1.0]) == {}
