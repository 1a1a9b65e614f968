"""Scores of sound: does it sound like the real clips, does it say what was asked, what does a codec lose?

Legend: n clips, T samples of each, c classes, F label fields. Waves are lists of [T], full scale from -1 to 1.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genzoo.contract import Sampler
from genzoo.draws import torch_generator
from genzoo.metrics import frechet_distance
from genzoo.metrics.controls import by_label
from genzoo_audio import spectra
from genzoo_audio.classifier import VERSION as CLASSIFIER
from genzoo_audio.classifier import AudioClassifier
from genzoo_audio.data import AudioData

VERSION = 1
"""Of these scores: another one gives other numbers."""

SILENCE_DB = -100.0
"""The level of a clip that is softer than it."""

CLIPPED, RUN = 0.999, 3
"""Samples count as clipped where at least so many in a row reach this magnitude."""

SPLITS = 8
"""Random halves of the reference, whose distances are averaged."""

READER = f"convolutions over log-mel spectra, version {CLASSIFIER}, trained on the training split"

Wave = np.ndarray | Tensor


# Against the real clips


def sound_scores(
    waves: Sequence[Wave],
    reference: Sequence[Wave],
    rate_hz: int,
    *,
    period: int | None = None,
    classifier: AudioClassifier | None = None,
) -> dict[str, Any]:
    """All scores of clips beside reference clips: levels, clipping, traces of borders every `period` samples, and by a
    classifier Fréchet distance and inception scores of each field, with what real clips score beside each."""
    checked(waves), checked(reference)
    scores: dict[str, Any] = {"level": levels(waves, reference), "clipping": clipping(waves, reference)}
    if period is not None and period > 3:
        scores["clicks"] = {
            "samples": clicks(waves, period),
            "reference": clicks(reference, period),
            "protocol": {"period": period, "version": VERSION},
        }
    if classifier is not None:
        scores["frechet"] = frechet_audio_distance(classifier, waves, reference)
        scores["inception"] = {
            name: [inception_score(logits.double().softmax(1)) for logits in classifier.logits(clips)]
            for name, clips in (("samples", waves), ("reference", reference))
        }
    return scores | {
        "protocol": {
            "samples": len(waves),
            "reference": len(reference),
            "rate_hz": rate_hz,
            "version": VERSION,
            **({"classifier": READER} if classifier is not None else {}),
        }
    }


def frechet_audio_distance(
    classifier: AudioClassifier, samples: Sequence[Wave], reference: Sequence[Wave], *, seed: int = 0
) -> dict[str, Any]:
    """Fréchet distance of clips from reference clips (Kilgour et al. 2019), on the classifier's features in place of
    VGGish's: compare it only with those of the same classifier, and of as many clips, for it falls with their number.

    Beside it "real", that of two random halves of the reference from each other, and "samples_as_real", that of as many
    random samples from a half; both are means over `SPLITS` draws. Of samples as good as real clips
    they are equal, or where the labels of either set are evenly spread on purpose "samples_as_real" is smaller, down to
    half of "real"."""
    ours, real = classifier.features(samples), classifier.features(reference)
    half = len(real) // 2
    if half < 2 or len(ours) < 2:
        raise ValueError(f"the distance needs 2 samples and 4 reference clips, not {len(ours)} and {len(real)}")
    as_real, floor = [], []
    for split in range(SPLITS):
        one, two = torch.randperm(len(real), generator=torch_generator("fad", split, seed)).tensor_split([half])
        some = torch.randperm(len(ours), generator=torch_generator("fad samples", split, seed))[:half]
        as_real.append(frechet_distance(ours[some], real[two]))
        floor.append(frechet_distance(real[one], real[two]))
    return {
        "distance": frechet_distance(ours, real),
        "samples_as_real": float(np.mean(as_real)),
        "real": float(np.mean(floor)),
        "protocol": {
            "samples": len(ours),
            "reference": len(real),
            "samples_as_real": [min(half, len(ours)), len(real) - half],
            "real": [half, len(real) - half],
            "draws": SPLITS,
            "features": ours.shape[1],
            "classifier": READER,
            "seed": seed,
            "version": VERSION,
        },
    }


def inception_score(probabilities: Tensor) -> float:
    """exp of the mean KL divergence of p(y|x) from p(y), of probabilities [n, c] (Salimans et al. 2016): 1 where all
    clips are read alike, c where each is read surely and all classes are as frequent."""
    p = torch.as_tensor(probabilities).double()
    if p.ndim != 2 or not p.numel() or not (p >= 0).all() or ((p.sum(1) - 1).abs() > 1e-4).any():
        raise ValueError(f"an inception score is of probabilities [n, c] that add up to 1, not {list(p.shape)}")
    entropy = torch.special.entr
    return (entropy(p.mean(0)).sum() - entropy(p).sum(1).mean()).clamp(min=0).exp().item()


# Against what was asked


def label_agreement(
    classifier: AudioClassifier, waves: Sequence[Wave], asked: np.ndarray, fields: Sequence[str]
) -> dict[str, Any]:
    """Share of clips in which the classifier reads the label [n, F] that was asked for: by field, and in all fields."""
    asked = np.asarray(asked)
    if asked.shape != (len(waves), len(fields)) or len(fields) != len(classifier.counts) or not len(waves):
        raise ValueError(
            f"labels of {len(waves)} clips and {len(fields)} fields, for a classifier of {len(classifier.counts)}, "
            f"are not {list(asked.shape)}"
        )
    right = np.stack([x.argmax(1).numpy() for x in classifier.logits(waves)], axis=1) == asked
    return {
        **dict(zip(fields, right.mean(0).tolist(), strict=True)),
        "all": float(right.all(1).mean()),
        "protocol": {"samples": len(waves), "classifier": READER, "version": VERSION},
    }


def label_agreement_of(
    data: AudioData,
    sample: Sampler,
    cond: Mapping[str, Tensor],
    *,
    split: str | None = None,
) -> dict[str, Any]:
    """That of samples under the labels of `cond`, told them, told none and told another's, and, where a split is named,
    of its real clips: how often the classifier is right. An empty sample counts as read wrong."""
    net, fields = data.classifier(), data.fitted["fields"]
    asked = data.parts_of(cond["label"].cpu().numpy())[0]
    made = by_label(sample, cond, 1, classes=len(data.classes))
    found: dict[str, Any] = {"protocol": {"classifier": READER, "version": VERSION, "samples": len(asked)}}
    for way, samples in made.items():
        waves = [data.wave(x) for x in samples]
        heard = np.array([len(wave) > 1 for wave in waves])
        read = {name: 0.0 for name in (*fields, "all")}
        if heard.any():
            read |= label_agreement(net, [wave for wave in waves if len(wave) > 1], asked[heard], fields)
        found[way] = {name: read[name] * heard.mean().item() for name in (*fields, "all")}
        found["protocol"] |= {"empty": int((~heard).sum())} if way == "told" else {}
    if split is not None:
        clips, labels = data.real(split)
        found["real"] = label_agreement(net, clips, data.parts_of(labels)[0], fields)
    return found


# Of the wave itself


def level_db(waves: Sequence[Wave]) -> np.ndarray:
    """RMS levels [n] in dBFS (a full-scale sine has -3.01) of what lies between the first and the last sample within
    40 dB of a clip's peak; `SILENCE_DB` at least."""
    found = []
    for x in checked(waves):
        loud = np.flatnonzero(np.abs(x) >= 0.01 * np.abs(x).max())
        active = x[loud[0] : loud[-1] + 1]
        found.append(10 * np.log10(max(np.mean(active**2), 10 ** (SILENCE_DB / 10))))
    return np.array(found)


def levels(samples: Sequence[Wave], reference: Sequence[Wave]) -> dict[str, Any]:
    """Mean levels of both sets in dBFS, the standard deviations over their clips, how much louder the samples are, and
    the share of samples that are silent (their level, being none, counts nowhere else)."""
    sets = {"samples": level_db(samples), "reference": level_db(reference)}
    heard = {name: db[db > SILENCE_DB] for name, db in sets.items()}
    mean = {name: float(db.mean()) if len(db) else SILENCE_DB for name, db in heard.items()}
    return {
        **{f"{name}_db": value for name, value in mean.items()},
        **{f"{name}_std_db": float(db.std()) if len(db) else 0.0 for name, db in heard.items()},
        "difference_db": mean["samples"] - mean["reference"],
        "silent": 1 - len(heard["samples"]) / len(sets["samples"]),
        "protocol": {name: len(db) for name, db in sets.items()} | {"version": VERSION},
    }


def clipped(waves: Sequence[Wave]) -> tuple[float, float]:
    """Shares of all samples of all clips, and of the clips, that lie in, and have, runs of at least `RUN` samples of a
    magnitude of `CLIPPED` or more."""
    samples = total = clips = 0
    for x in checked(waves):
        edges = np.diff(np.concatenate(([0], np.abs(x) >= CLIPPED, [0])).astype(int))
        runs = np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0)
        long = runs[runs >= RUN].sum()
        samples, total, clips = samples + long, total + len(x), clips + (long > 0)
    return float(samples / total), float(clips / len(waves))


def clipping(samples: Sequence[Wave], reference: Sequence[Wave]) -> dict[str, Any]:
    """`clipped` of both sets."""
    found = {name: clipped(waves) for name, waves in (("samples", samples), ("reference", reference))}
    return {name: {"of_samples": one, "of_clips": two} for name, (one, two) in found.items()} | {
        "protocol": {"magnitude": CLIPPED, "run": RUN, "version": VERSION}
    }


def clicks(waves: Wave | Sequence[Wave], period: int) -> float:
    """How many times larger the mean magnitude of second differences is across the borders of patches or frames, which
    lie before every `period`-th sample, than elsewhere, over all clips: 1 where borders leave no trace."""
    if period < 4:
        raise ValueError(f"a border every {period} samples leaves nothing between them: 4 or more")
    sums, counts = np.zeros(2), np.zeros(2)
    for x in checked([waves] if getattr(waves, "ndim", 0) == 1 else waves):
        bends = np.abs(np.diff(x, 2))  # of samples i, i + 1 and i + 2
        place = np.arange(len(bends)) % period
        across = (place >= period - 2).astype(int)
        sums += np.bincount(across, bends, minlength=2)
        counts += np.bincount(across, minlength=2)
    if not counts.all():
        raise ValueError(f"no clip is longer than {period} samples, so that none has a border")
    elsewhere, at_borders = sums / counts
    if at_borders == elsewhere:
        return 1.0
    return float(at_borders / max(elsewhere, 1e-12))


def checked(waves: Sequence[Wave]) -> list[np.ndarray]:
    """Waves in float64; ValueError for what is none."""
    found = [np.asarray(wave, dtype=np.float64) for wave in waves]
    if not found:
        raise ValueError("a score needs clips: there are none")
    for x in found:
        if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
            raise ValueError(f"clips are waves [T] of finite numbers, not {list(x.shape)}: leave the broken ones out")
    return found


# Of a codec


def codec_scores(original: Sequence[Wave], decoded: Sequence[Wave], rate_hz: int) -> dict[str, Any]:
    """What a codec loses, means over clips: L1 distance of log-mel spectra in nepers, the multi-resolution STFT
    distance, and SI-SDR in dB, without the clips whose original is silent. ValueError for clips of other lengths."""
    pairs = list(zip(checked(original), checked(decoded), strict=True))
    found = []
    for x, y in pairs:
        if len(x) != len(y):
            raise ValueError(f"a decoded clip of {len(y)} samples is none of {len(x)}: cut it to its length")
        a_bt, b_bt = torch.from_numpy(x)[None], torch.from_numpy(y)[None]
        mel, stft = spectra.log_mel_distance(a_bt, b_bt, rate_hz), spectra.stft_distance(a_bt, b_bt, rate_hz)
        found.append((mel.item(), stft.item(), spectra.si_sdr_db(a_bt, b_bt).item(), np.square(x).sum() > 1e-9))
    mels, stfts, ratios, heard = (np.array(column) for column in zip(*found, strict=True))
    return {
        "log_mel_l1": float(mels.mean()),
        "mr_stft": float(stfts.mean()),
        "si_sdr_db": float(ratios[heard].mean()) if heard.any() else 0.0,
        "protocol": {
            "clips": len(pairs),
            "silent": int((~heard).sum()),
            "seconds": sum(len(x) for x, _ in pairs) / rate_hz,
            "log_mel": "64 HTK mels to half the rate, windows of 32 ms, natural logarithm, floor 1e-5",
            "mr_stft": "spectral convergence + log magnitude (Yamamoto et al. 2020), windows of 8 to 64 ms",
            "si_sdr": "Le Roux et al. 2019, eq. 3",
            "version": VERSION,
        },
    }
