"""Many files, read one after the other into one row of samples that is kept for the next time.

Legend: N clips.
"""

import hashlib
import io
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from genzoo.download import cache_folder
from genzoo.errors import UserError
from genzoo.keeping import folder_beside, keep
from genzoo.progress import shown
from genzoo.reading import Broken, breaking
from genzoo_audio.files import rate_of, read, to_int16, trim_silence

VERSION = 1
"""Of what is kept of files: raise it where the same files would give other samples."""

SAMPLES, ABOUT = "samples.i16", "about.json"
"""The files of what is kept: little-endian 16-bit samples, and a `Scan` without them."""


@dataclass
class Scan:
    """Files read. ends: of each file in `samples`, int16, where a broken one has none. broken: reasons by names."""

    rate_hz: int
    ends: list[int]
    broken: dict[str, str]
    samples: np.ndarray


def scan(
    files: Sequence[tuple[str, Path]], where: Path, *, rate_hz: int | None, trim_db: float | None, max_s: float
) -> Scan:
    """The samples of files, given as (name, file), of which there is one at least.

    rate_hz: what they are resampled to; None: the rate that most of them have, of several the highest. trim_db: what is
    softer than the loudest sample by so many decibels is trimmed from both ends. They are kept in the cache folder
    until the files or what is asked for change; where that cannot be written, in memory.
    """
    told = [(name, file.stat().st_size, file.stat().st_mtime_ns) for name, file in files]
    key = repr((VERSION, str(where.resolve()), rate_hz, trim_db, max_s, told)).encode()
    place = cache_folder() / f"clips-{hashlib.blake2b(key, digest_size=16).hexdigest()}"
    found = read_kept(place)
    if found is None:
        shutil.rmtree(place, ignore_errors=True)  # damaged
        found = read_all(files, place, rate_hz, trim_db, max_s)
    return found


def read_all(
    files: Sequence[tuple[str, Path]], place: Path, rate_hz: int | None, trim_db: float | None, max_s: float
) -> Scan:
    """As `scan`, from the files themselves."""
    broken: dict[str, str] = {}
    rate_hz = rate_hz or most_common_rate(files)
    unfinished = folder_beside(place)
    ends = [0]
    try:
        with open(unfinished / SAMPLES, "wb") if unfinished else io.BytesIO() as out:
            for name, file in shown(files, "reading"):
                try:
                    with breaking():
                        x, _ = read(file, rate_hz, max_s)
                        x = to_int16(x if trim_db is None else trim_silence(x, rate_hz, trim_db))
                        if not x.any():
                            raise Broken("is silent in 16 bits")
                except Broken as reason:
                    broken[name] = str(reason)
                    x = np.empty(0, np.int16)
                ends.append(ends[-1] + len(x))
                out.write(x.astype("<i2").tobytes())
            if not unfinished:
                return Scan(rate_hz, ends[1:], broken, np.frombuffer(out.getvalue(), "<i2"))
        about = asdict(Scan(rate_hz, ends[1:], broken, np.empty(0)))
        del about["samples"]
        (unfinished / ABOUT).write_text(json.dumps(about), encoding="utf-8")
        keep(unfinished, place)
    except OSError as error:
        raise UserError(f"{place.parent} cannot hold the samples ({error}): free space, or set GENZOO_CACHE") from error
    finally:
        if unfinished:
            shutil.rmtree(unfinished, ignore_errors=True)
    found = read_kept(place)
    assert found is not None, place
    return found


def read_kept(place: Path) -> Scan | None:
    """What was kept, its samples as a np.memmap; None where there is nothing, or it is damaged."""
    try:
        about = json.loads((place / ABOUT).read_text(encoding="utf-8"))
        count = (about["ends"] or [0])[-1]
        if (place / SAMPLES).stat().st_size != 2 * count:
            return None
        samples = np.memmap(place / SAMPLES, "<i2", "r", shape=(count,)) if count else np.empty(0, np.int16)
        return Scan(samples=samples, **about)
    except Exception:  # whatever is raised for a damaged one
        return None


def most_common_rate(files: Sequence[tuple[str, Path]]) -> int:
    """In Hz; of several the highest. 1 where all files are broken."""
    rates: Counter[int] = Counter()
    for _, file in shown(files, "looking"):
        with suppress(Broken), breaking():
            rates[rate_of(file)] += 1
    return max(rates, key=lambda rate_hz: (rates[rate_hz], rate_hz), default=1)
