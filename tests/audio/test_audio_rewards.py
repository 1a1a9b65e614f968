"""Rewards of sound: tones, clicks and noise whose spectra are known, a reader whose answers are; and from end to end.

Legend: n samples, T samples of a wave.
"""

import csv
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

import genzoo
from genzoo.errors import UserError
from genzoo_audio import classifier, rewards
from genzoo_audio.tokens import TokenData

RATE_HZ = 8000


class Waves:
    """Data whose samples are their own waves, up to the first NaN; with labels "a_x", "a_y", "b_x" of two fields, and
    readers that say what is put in."""

    rate_hz = RATE_HZ

    def __init__(self, logits: Mapping[int, Sequence[Tensor]] | None = None) -> None:
        self.logits_by_seed, self.heard = logits or {}, []

    def wave(self, x: Tensor) -> np.ndarray:
        return x[: int(x.isfinite().sum())].numpy()

    def parts_of(self, labels: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
        return np.array([[0, 0], [0, 1], [1, 0]])[labels], (2, 2)

    def classifier(self, *, seed: int = 0) -> "Waves":
        self.seed = seed
        return self

    def logits(self, waves: Sequence[np.ndarray]) -> tuple[Tensor, ...]:
        self.heard.append([len(wave) for wave in waves])
        return tuple(field[: len(waves)] for field in self.logits_by_seed[self.seed])


def tone(*hertz: float, length: int = 4000, loud: Sequence[float] = (0.5,)) -> Tensor:
    t = np.arange(length) / RATE_HZ
    level = [*loud, *[loud[-1]] * (len(hertz) - len(loud))]
    return torch.from_numpy(sum(a * np.sin(2 * np.pi * f * t) for a, f in zip(level, hertz, strict=True)))


def click(length: int) -> Tensor:
    """Its spectrum is the same at all frequencies."""
    return torch.zeros(length, dtype=torch.float64).index_fill(0, torch.tensor(length // 2), 0.7)


def noise(length: int = 2**15) -> Tensor:
    return 0.1 * torch.randn(length, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def one(function, wave: Tensor) -> float:
    return function(wave[None], Waves(), {})[0]


# Spectra


@pytest.mark.parametrize("hertz", [200, 1000, 1234.5, 3000])
def test_the_middle_of_a_tone(hertz):
    """Its frequency in kHz, however loud it is, and of whatever length."""
    for wave in (tone(hertz), tone(hertz, loud=(0.001,)), tone(hertz, length=4001), tone(hertz, length=2999)):
        assert one(rewards.bright, wave) == pytest.approx(hertz / 1000, rel=0.01)


def test_the_middle_of_several_tones():
    """Between two that are as loud; nearer to the louder one, by amplitude; of three."""
    assert one(rewards.bright, tone(500, 2500)) == pytest.approx(1.5, rel=0.01)
    assert one(rewards.bright, tone(500, 2500, loud=(0.6, 0.2))) == pytest.approx(1.0, rel=0.01)
    assert one(rewards.bright, tone(500, 1000, 3000)) == pytest.approx(1.5, rel=0.01)


@pytest.mark.parametrize("length", [256, 257, 4001])
def test_the_middle_of_a_click(length):
    """All frequencies k rate / T up to half the rate alike: their mean."""
    want = RATE_HZ / length * (length // 2) / 2 / 1000
    assert one(rewards.bright, click(length)) == pytest.approx(want, rel=1e-4)


def test_flatness():
    """Of a click 1; of white noise the geometric over the arithmetic mean of exponential numbers, exp(-Euler's
    constant), however loud; of tones next to nothing, the more hiss there is the more."""
    assert one(rewards.tonal, click(400)) == pytest.approx(-1, abs=1e-3)
    assert one(rewards.tonal, noise()) == pytest.approx(-math.exp(-np.euler_gamma), abs=0.01)
    assert one(rewards.tonal, noise() / 100) == pytest.approx(one(rewards.tonal, noise()), rel=1e-6)
    pure = [one(rewards.tonal, tone(*range(300, 300 + 400 * count, 400), length=2**15)) for count in (1, 3, 9)]
    assert -1e-4 < min(pure) <= max(pure) < 0
    hissing = [one(rewards.tonal, tone(440, length=2**15) + level * noise()) for level in (0.01, 0.1, 1.0)]
    assert min(pure) > hissing[0] > hissing[1] > hissing[2] > one(rewards.tonal, noise())


def test_brighter_sounds_are_in_order():
    """A low tone, with an overtone, with hiss, and hiss alone, whose middle is a quarter of the rate."""
    low, wide = tone(300, length=2**15), tone(300, 600, length=2**15)
    found = [one(rewards.bright, wave) for wave in (low, wide, wide + 0.3 * noise(), noise())]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(RATE_HZ / 4000, rel=0.01)


@pytest.mark.parametrize(
    "wave",
    [torch.zeros(0), torch.zeros(1), torch.ones(255), torch.zeros(4000), torch.full((4000,), 1e-6)],
    ids=["empty", "one", "short", "silent", "hardly"],
)
def test_nothing_to_hear(wave):
    """Neither bright nor tonal, among others as alone."""
    data = Waves()
    both = torch.nn.utils.rnn.pad_sequence([wave, tone(500).float()], batch_first=True, padding_value=math.nan)
    assert rewards.bright(both, data, {}) == pytest.approx([0, 0.5], rel=0.01)
    assert rewards.tonal(both, data, {}) == pytest.approx([-1, 0], abs=1e-3)


def test_a_constant():
    """A wave that does not move is at 0 Hz."""
    assert one(rewards.bright, torch.full((4000,), 0.3)) == pytest.approx(0, abs=0.01)
    assert one(rewards.tonal, torch.full((4000,), 0.3)) == pytest.approx(0, abs=1e-3)


def test_tokens_are_heard_as_waves():
    """Mu-law tokens, up to their end; what follows it, and what is no token, is not heard."""
    data = TokenData(tokens="mulaw")
    data.load_state_dict({"rate_hz": RATE_HZ, "classes": [], "fields": [], "coding": {"kind": "mulaw"}})
    tokens = torch.from_numpy(data.coding.encode_all([tone(700).float().numpy()])[0])
    hiss = torch.randint(256, (4000,), generator=torch.Generator().manual_seed(0))
    end = torch.tensor([data.vocab - 1])
    x = torch.stack(
        [
            torch.cat((tokens, end, hiss)),
            torch.cat((tokens, torch.full((4001,), -1))),
            torch.cat((end, hiss, hiss)),
            torch.cat((hiss, hiss, end)),
        ]
    )
    bright, tonal = (function(x, data, {}) for function in (rewards.bright, rewards.tonal))
    assert bright[0] == bright[1] == pytest.approx(0.7, rel=0.15)  # 8 bits hiss a little
    assert bright[2] == 0
    assert bright[3] > 1.5
    assert tonal[0] == tonal[1] > tonal[3] > tonal[2] == -1


# What is read


def test_the_label_that_is_read():
    """By hand: the product over the fields of the probability of each one's part; the classifier of the seed; 0 of what
    is too short, which it does not hear."""
    log = math.log
    sure = (torch.tensor([[log(3), 0.0], [0.0, log(4)]]), torch.tensor([[0.0, 0.0], [log(9), 0.0]]))
    data = Waves({0: sure, 1: tuple(-field for field in sure)})
    waves = torch.stack((tone(300, length=400), tone(300, length=400).index_fill(0, torch.arange(200, 400), math.nan)))
    waves = torch.cat((waves, tone(500, length=400)[None]))
    cond = {"label": torch.tensor([1, 0, 2])}  # a_y, a_x, b_x
    first = [0.75 * 0.5, 0, 0.8 * 0.9]
    second = [0.25 * 0.5, 0, 0.2 * 0.1]
    assert rewards.says_its_label(waves, data, cond) == pytest.approx(first)
    assert rewards.says_its_label(waves, data, cond, seed=1) == pytest.approx(second)
    assert data.heard == [[400, 400]] * 2
    assert rewards.says_its_label(waves[1:2], data, {"label": torch.tensor([0])}) == [0]
    with pytest.raises(UserError, match="reward=says_label needs labels: this data has none"):
        rewards.says_its_label(waves, data, {})


def test_readers_are_trained_once():
    """One for each seed, which are two in a run."""

    class Counted(Waves):
        made = 0

        def classifier(self, *, seed: int = 0) -> Waves:
            self.made += 1
            return Waves({0: (torch.zeros(1, 2), torch.zeros(1, 2))}).classifier(seed=0)

    data, cond = Counted(), {"label": torch.tensor([0])}
    for seed in (0, 1, 0, 1):
        assert rewards.says_its_label(tone(300)[None], data, cond, seed=seed) == pytest.approx([0.25])
    assert data.made == 2


# From the command line


def test_says_label_from_end_to_end(smoke_run_of, tmp_path, monkeypatch):
    """Two steps from a trained model on, with classifiers of a few steps: probabilities, of two different readers."""
    start = smoke_run_of("audio")
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(classifier, "STEPS", (3, 3))
    words = ["trainer.steps=2", "trainer.val_every=1", "trainer.batch_size=8", "objective.samples=4", "samples=0"]
    words += [f"data.codec={smoke_run_of('audio_codec')}", f"init={start}", f"out={tmp_path / 'run'}"]
    run = genzoo.train("audio_smoke", [*words, "objective=reward", "reward=says_label"])
    with open(run / "log.csv", newline="") as file:
        looks = [row for row in csv.DictReader(file) if row["split"] == "val"]
    assert [int(float(row["step"])) for row in looks] == [0, 1, 2]
    assert all(0 <= float(row[name]) <= 1 for row in looks for name in ("reward", "gold"))
    assert looks[0]["reward"] != looks[0]["gold"]
    assert float(looks[0]["kl_estimated"]) == pytest.approx(0, abs=1e-4)


def test_a_codec_is_refused(refused, smoke_run_of):
    """It gives back what it is given: there is nothing to reward."""
    words = ["objective=reward", "reward=bright", f"init={smoke_run_of('audio_codec')}"]
    words += ["data.embedded=48", "data.seconds=0.1", "model.dim=32", "model.heads=2", "model.stages=2"]
    line = refused("train", "audio_codec", *words, "model.encoder_depth=1", "model.decoder_depth=1")
    assert "objective=reward needs a model with a likelihood, or a flow; this one only gives back what it is" in line
    assert line.endswith("choose objective=native")
