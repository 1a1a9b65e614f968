"""The process in which weather files are decoded, since a damaged one can end, or hold up for ever, the one that does.

`python -P -m genzoo_weather.decoder` is asked on its standard input, a line of JSON each, and answers there: lines of
JSON, and after the last the bytes of the arrays that it announces. `apart` is the other end.
"""

import gc
import json
import os
import signal
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np

from genzoo.errors import UserError
from genzoo.reading import Broken, breaking, printable
from genzoo_weather.fields import Fields, open_here
from genzoo_weather.files import files_of, size_of
from genzoo_weather.variables import Variable

PATIENCE_S = 5.0
"""CPU-seconds that one answer may take, beside those for the size of the files."""

SLOW = 1e6
"""Bytes of a file that are decoded in a CPU-second, at least."""


def limit_s(path: str) -> float:
    """CPU-seconds for one answer about these files; 0, which is no limit, of what comes over a network."""
    return 0.0 if "://" in path else PATIENCE_S + sum(map(size_of, files_of(path))) / SLOW


@lru_cache(maxsize=1)
def opened(asker: int, question: str, answers: BinaryIO) -> tuple[Fields, float]:
    """The maps, and how long an answer about them may take. asker: another one may find another file in that place."""

    def tell(file: str) -> None:
        say(answers, {"file": file})

    told = json.loads(question)
    like = [Variable(*values) for values in told.pop("like") or ()]
    limit = limit_s(told["path"])
    patience(limit)
    return open_here(told.pop("path"), like=like or None, tell=tell, **told), limit


def answer(asked: Mapping[str, Any], answers: BinaryIO) -> tuple[dict[str, Any], list[np.ndarray]]:
    """To the question what there is (places: null), or for the maps at some places."""
    if asked["places"] is None:
        opened.cache_clear()
        gc.collect()  # closes what was open: HDF5 would go on with it, also where the file is another by now
    fields, limit = opened(asked["asker"], asked["question"], answers)
    if asked["places"] is not None:
        patience(limit)
        return {}, [fields.read(np.array(asked["places"], np.int64))]
    kinds = [[v.name, v.unit, v.level_hpa, v.standard_name, v.source] for v in fields.variables]
    arrays = [fields.latitude_deg, fields.longitude_deg, fields.minutes, fields.member]
    return {"variables": kinds, "remote": fields.remote}, arrays


def patience(seconds: float) -> None:
    """Ends this process after so many CPU-seconds, whatever a library is in the middle of; 0: never."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def say(answers: BinaryIO, words: Mapping[str, Any]) -> None:
    answers.write(json.dumps(words).encode() + b"\n")
    answers.flush()


def main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print: not in between
    try:
        from numcodecs.registry import codec_registry, entries

        codec_registry.pop("pickle", None), entries.pop("pickle", None)  # nothing is unpickled
    except ModuleNotFoundError:
        pass
    for line in sys.stdin.buffer:
        try:
            with breaking():
                head, arrays = answer(json.loads(line), answers)
        except (Broken, UserError) as error:
            head, arrays = (
                {"refused": " ".join(printable(str(error)).split()), "user": isinstance(error, UserError)},
                [],
            )
        patience(0.0)
        say(answers, {**head, "arrays": [[a.dtype.str, a.shape] for a in arrays]})
        for array in arrays:
            answers.write(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
        answers.flush()


if __name__ == "__main__":
    main()
