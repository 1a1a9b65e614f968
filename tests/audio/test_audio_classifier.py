"""The classifier: learns what is plain to hear, does not mind loudness or company, and is kept."""

import numpy as np
import pytest
import torch

from genzoo.errors import UserError
from genzoo_audio import classifier
from genzoo_audio.classifier import AudioClassifier, fit_classifier

RATE_HZ = 8_000


def clips(count: int, seed: int = 0, rate_hz: int = RATE_HZ) -> tuple[list[np.ndarray], np.ndarray]:
    """Low or high tones by harmonic or noisy speakers, 0.1 to 0.3 s, of levels that differ by 20 dB; labels [n, 2]."""
    rng = np.random.default_rng(seed)
    waves, labels = [], rng.integers(0, 2, (count, 2))
    for pitch, speaker in labels:
        t = np.arange(int(rng.uniform(0.1, 0.3) * rate_hz)) / rate_hz
        base_hz = rng.uniform(200, 300) * (3 if pitch else 1)
        wave = sum(
            np.sin(2 * np.pi * base_hz * k * t + rng.uniform(0, 6)) / k for k in ((1,) if speaker else (1, 2, 3))
        )
        wave = wave + (0.3 * rng.standard_normal(len(t)) if speaker else 0)
        waves.append((wave * 0.3 * 10 ** rng.uniform(-1, 0)).astype(np.float32))
    return waves, labels


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> pytest.TempPathFactory:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("GENZOO_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def net(cache) -> AudioClassifier:
    waves, labels = clips(80)
    return fit_classifier(waves, labels, (2, 2), RATE_HZ, key="tones")


def read(net: AudioClassifier, waves: list[np.ndarray]) -> np.ndarray:
    return np.stack([x.argmax(1).numpy() for x in net.logits(waves)], axis=1)


def test_learns(net):
    """New clips, both fields; the same when they are 30 dB softer, or later."""
    waves, labels = clips(100, seed=1)
    assert (read(net, waves) == labels).mean(axis=0).min() > 0.95
    assert (read(net, [wave * 0.03 for wave in waves]) == labels).mean(axis=0).min() > 0.95
    assert (read(net, [np.pad(wave, (300, 0)) for wave in waves]) == labels).mean(axis=0).min() > 0.95


def test_loudness_does_not_decide(net):
    """Features stay, to rounding."""
    waves, _ = clips(8, seed=2)
    torch.testing.assert_close(net.features([wave / 8 for wave in waves]), net.features(waves), atol=1e-3, rtol=1e-3)


def test_company_does_not_decide(net):
    """Each clip alone, among longer ones, and in another order: the same features and logits."""
    waves, _ = clips(50, seed=3)
    waves[7], waves[8] = waves[7][:160], np.tile(waves[8], 12)  # 20 ms, and seconds
    whole = net.features(waves)
    assert whole.shape == (50, 32)
    for i in (0, 7, 8):
        torch.testing.assert_close(net.features([waves[i]])[0], whole[i], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(net.features(waves[::-1]), whole.flip(0), atol=1e-4, rtol=1e-4)
    tensors = [torch.from_numpy(wave) for wave in waves]
    assert torch.equal(net.features(tensors), whole)
    logits = net.logits(waves)
    assert [x.shape for x in logits] == [(50, 2), (50, 2)]
    torch.testing.assert_close(logits[1], net.heads[1](whole), atol=1e-5, rtol=1e-5)


def test_batches_are_bounded(net):
    """Every clip once, of like lengths, never more samples than the memory of so many crops."""
    lengths = [int(x) for x in np.random.default_rng(0).integers(100, 12 * RATE_HZ, 200)]
    parts = list(net.alike(lengths))
    assert sorted(i for part in parts for i in part) == list(range(200))
    most = classifier.BATCH * classifier.CROP_S * RATE_HZ
    assert all(len(part) * min(max(lengths[i] for i in part), 10 * RATE_HZ) <= most for part in parts)
    assert list(net.alike([])) == []


def test_kept(net, cache, capsys):
    """A second fit reads the same weights and trains nothing; another key, seed or rate, or a damaged file, does."""
    waves, labels = clips(80)
    (file,) = cache.iterdir()
    assert file.name.startswith(f"audio-classifier-{classifier.VERSION}-")
    again = fit_classifier(waves, labels, (2, 2), RATE_HZ, key="tones")
    assert capsys.readouterr().err == ""
    assert not again.training
    for name, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    torch.testing.assert_close(again.features(waves), net.features(waves), atol=0, rtol=0)


def test_made_anew(tmp_path, monkeypatch, capsys):
    """The same weights as before where the file was damaged, others for another seed; global randomness untouched."""
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "new"))
    monkeypatch.setattr(classifier, "STEPS", (3, 3))
    waves, labels = clips(20)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = fit_classifier(waves, labels, (2, 2), RATE_HZ, key="few")
    assert torch.equal(torch.random.get_rng_state(), state)
    (file,) = (tmp_path / "new").iterdir()
    assert capsys.readouterr().err == f"training the audio classifier that scores need, kept in {file}\n"
    content = file.read_bytes()
    file.write_bytes(content[:1000])
    again = fit_classifier(waves, labels, (2, 2), RATE_HZ, key="few")
    assert capsys.readouterr().err.count("\n") == 1
    assert file.read_bytes() == content
    assert torch.equal(first.features(waves), again.features(waves))
    others = [
        fit_classifier(waves, labels, (2, 2), RATE_HZ, key="few", seed=1),
        fit_classifier(waves, labels, (2, 2), RATE_HZ, key="others"),
        fit_classifier(waves, labels, (2, 2), 2 * RATE_HZ, key="few"),
    ]
    assert not any(torch.equal(first.features(waves), other.features(waves)) for other in others[::2])
    assert len(list((tmp_path / "new").iterdir())) == 4


def test_where_nothing_can_be_kept(tmp_path, monkeypatch, capsys):
    """The cache is a file: trained all the same."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("GENZOO_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(classifier, "STEPS", (1, 1))
    waves, labels = clips(4)
    assert fit_classifier(waves, labels, (2, 2), RATE_HZ, key="none").features(waves).isfinite().all()
    assert "training" in capsys.readouterr().err


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 48_000])
@pytest.mark.parametrize("fields", [(2,), (3, 2, 2)])
def test_rates_and_lengths(rate_hz, fields):
    """From a sample to 12 s, silence too: finite numbers, of any fields. After 10 s it listens no more."""
    net = AudioClassifier(fields, rate_hz).eval()
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal(12 * rate_hz).astype(np.float32)
    waves = [noise[:1], noise[: rate_hz // 50], np.zeros(rate_hz, np.float32), noise, noise[: 10 * rate_hz]]
    logits = net.logits(waves)
    assert [x.shape for x in logits] == [(5, c) for c in fields]
    assert all(x.isfinite().all() for x in logits)
    torch.testing.assert_close(logits[0][3], logits[0][4])


def test_mels_follow_the_pitch():
    """A tone's loudest mel lies where the tone is (HTK's scale), and silence is 0."""
    net = AudioClassifier((2,), RATE_HZ)
    t = torch.arange(4_000) / RATE_HZ
    for hz in (300.0, 1_000.0, 3_000.0):
        x_blm, frames = net.spectra([0.1 * torch.sin(2 * torch.pi * hz * t), torch.zeros(800)])
        assert frames.tolist() == [51, 11]
        assert (x_blm[1] == 0).all()
        mel = 2595 * np.log10(1 + hz / 700) / (2595 * np.log10(1 + RATE_HZ / 2 / 700)) * 65 - 1
        assert abs(x_blm[0, 20].argmax().item() - mel) <= 1


@pytest.mark.parametrize(
    ("labels", "counts", "match"),
    [
        (np.zeros((4, 0), int), (), "without labels there is no classifier"),
        (np.zeros((4, 1), int), (2, 2), r"labels of 4 clips are \[N, F\]"),
        (np.full((4, 2), 2), (2, 3), "from 0 to below"),
        (np.full((4, 2), -1), (2, 3), "from 0 to below"),
    ],
)
def test_labels_that_do_not_fit(labels, counts, match):
    with pytest.raises(ValueError, match=match):
        fit_classifier(clips(4)[0], labels, counts, RATE_HZ, key="wrong")


def test_no_labels_are_for_the_user_to_mend():
    with pytest.raises(UserError, match="or leave its scores out"):
        fit_classifier([], np.zeros((0, 1), int), (2,), RATE_HZ, key="none")


@pytest.mark.parametrize("wave", [np.zeros((2, 9), np.float32), np.zeros(0, np.float32), np.zeros(9, int), [np.nan]])
def test_waves_that_are_none(wave):
    with pytest.raises(ValueError, match=r"clips are waves \[T\] of finite floats"):
        AudioClassifier((2,), RATE_HZ).eval().features([np.asarray(wave)])
