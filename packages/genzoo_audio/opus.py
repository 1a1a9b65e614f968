"""The Opus codec (RFC 6716), in memory, as the yardstick beside which a learned codec is measured.

Legend: T samples of a mono wave at rate_hz. Inside, Opus counts at 48 kHz.
"""

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.signal import resample_poly

from genzoo.errors import UserError

if TYPE_CHECKING:
    from av import Packet

OPUS_HZ = 48_000
RATES_HZ = (8_000, 12_000, 16_000, 24_000, OPUS_HZ)
"""Rates that the encoder takes; waves of others are resampled to the last."""

FRAME_MS = 60
"""Of a packet. Of 20, 40, 60 and 120 ms this was best, or as good, on short spoken words at 6 and 12 kbit/s."""

FARTHEST = 12
"""Samples at 48 kHz by which a decoded wave is shifted at most to lie on the original. After the pre-skip, which the
decoder cuts off, up to 4 remain, another number for each of the codec's inner modes."""


def opus_round_trip(
    wave: np.ndarray, rate_hz: int, bitrate_bps: int, *, application: str = "audio", frame_ms: int = FRAME_MS
) -> tuple[np.ndarray, int]:
    """A wave float32 [T] through Opus at a nominal bitrate: (the decoded wave float32 [T], bits of all its packets).

    Constrained variable bitrate, the encoder's highest effort. The bits are those of the packets, with TOC bytes and
    the last packet for the delay, without a container: bits / (T / rate_hz) is the true bitrate, of short words at a
    nominal 6 to 12 kbit/s 5 to 15 % less. The decoded wave is laid on the original to the sample of 48 kHz.
    application: "audio" follows the wave, "voip" filters out the lowest tones first. UserError without PyAV and for
    what Opus cannot take."""
    wave = np.asarray(wave, dtype=np.float32)
    if wave.ndim != 1 or not len(wave) or not np.isfinite(wave).all():
        raise UserError(f"Opus takes a mono wave [T] of finite numbers, not {list(wave.shape)}: mix or mend it first")
    if not 500 <= bitrate_bps <= 256_000:
        raise UserError(f"Opus takes 500 to 256000 bit/s of a mono wave, not {bitrate_bps}: choose another bitrate")
    if not 4_000 <= rate_hz <= 384_000:
        raise UserError(f"a rate of {rate_hz} Hz is none of a wave: give samples a second")
    encoder_hz = rate_hz if rate_hz in RATES_HZ else OPUS_HZ
    options = {"application": application, "frame_duration": str(frame_ms), "vbr": "constrained"}
    header, packets = encode(resampled(wave, rate_hz, encoder_hz), encoder_hz, bitrate_bps, options)
    decoded = aligned(decode(header, packets), resampled(wave, rate_hz, OPUS_HZ))
    back = resampled(decoded, OPUS_HZ, rate_hz)[: len(wave)]
    return np.pad(back, (0, len(wave) - len(back))), 8 * sum(packet.size for packet in packets)


def encode(wave: np.ndarray, rate_hz: int, bitrate_bps: int, options: dict[str, str]) -> tuple[bytes, list["Packet"]]:
    """Packets of a wave at a rate of `RATES_HZ`, and the header that the decoder needs."""
    av, coder = opened("w")
    coder.sample_rate, coder.layout, coder.format = rate_hz, "mono", "flt"
    coder.bit_rate, coder.time_base, coder.options = bitrate_bps, Fraction(1, rate_hz), options
    coder.open()
    packets = []
    for start in range(0, len(wave), coder.frame_size):
        part = np.ascontiguousarray(wave[None, start : start + coder.frame_size])
        frame = av.AudioFrame.from_ndarray(part, format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, coder.time_base
        packets += coder.encode(frame)
    return bytes(coder.extradata), packets + coder.encode(None)


def decode(header: bytes, packets: list["Packet"]) -> np.ndarray:
    """The wave of packets at 48 kHz, without the pre-skip that the header tells of."""
    _, coder = opened("r")
    coder.extradata, coder.layout, coder.sample_rate = header, "mono", OPUS_HZ
    frames = [frame for packet in packets for frame in coder.decode(packet)] + coder.decode(None)
    parts = [frame.to_ndarray().reshape(-1) for frame in frames]
    whole = np.concatenate(parts or [np.zeros(0, np.int16)])
    return whole.astype(np.float32) / (2**15 if whole.dtype == np.int16 else 1)


def aligned(decoded: np.ndarray, original: np.ndarray) -> np.ndarray:
    """A decoded wave, shifted by the whole number of samples within `FARTHEST` that makes its product with the original
    [T] largest, cut or filled with zeros to T."""
    fill = max(0, len(original) - len(decoded)) + FARTHEST
    padded = np.pad(decoded, (FARTHEST, fill))
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(original))[: 2 * FARTHEST + 1]
    products = windows @ original
    middle_first = np.argsort(np.abs(np.arange(len(products)) - FARTHEST), kind="stable")
    return windows[middle_first[products[middle_first].argmax()]]


def resampled(wave: np.ndarray, rate_hz: int, to_hz: int) -> np.ndarray:
    """A wave at another rate."""
    if rate_hz == to_hz:
        return wave
    ratio = Fraction(to_hz, rate_hz)
    return resample_poly(wave, ratio.numerator, ratio.denominator).astype(np.float32)


def opened(mode: str) -> tuple[Any, Any]:
    """PyAV, and its Opus encoder ("w") or decoder ("r")."""
    try:
        import av
    except ImportError as error:
        raise UserError("Opus needs PyAV: pip install 'genzoo[audio]'") from error
    try:
        return av, av.CodecContext.create("libopus", mode)
    except ValueError as error:
        raise UserError("this PyAV was built without libopus: pip install --force-reinstall 'genzoo[audio]'") from error
