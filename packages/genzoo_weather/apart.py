"""Weather files read by a process of their own: what a damaged one does to the library that decodes it (those of GRIB,
NetCDF and HDF5 can abort, or go round for ever), it does to that process, and here it is one line."""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genzoo.download import allowed
from genzoo.errors import UserError
from genzoo_weather.fields import Fields
from genzoo_weather.variables import Variable


class Decoder:
    """The other process: started when it is first asked, and again where a file has ended it. Of any number of threads,
    one is answered at a time."""

    def __init__(self) -> None:
        self.lock, self.process, self.owner = threading.Lock(), None, 0

    def ask(self, question: Mapping[str, Any], path: str) -> tuple[dict[str, Any], list[np.ndarray]]:
        """What `decoder.answer` says. UserError where it refuses, or does not live to answer."""
        file = path
        with self.lock:
            process = self._started()
            try:
                process.stdin.write(json.dumps(question).encode() + b"\n")
                process.stdin.flush()
                while "file" in (said := json.loads(process.stdout.readline())):
                    file = said["file"]
                arrays = [np.empty(shape, kind) for kind, shape in said["arrays"]]
                for array in arrays:
                    if array.size and process.stdout.readinto(array.data.cast("B")) < array.nbytes:
                        raise EOFError
            except (EOFError, OSError, ValueError) as error:
                raise UserError(f"data.path={file} cannot be read ({self._end()}): is it damaged?") from error
            except BaseException:  # an interrupt: what is still to come would be taken for another answer
                self._end()
                raise
        if "refused" in said:
            raise UserError(said["refused"] if said["user"] else f"data.path={file} {said['refused']}")
        return said, arrays

    def _started(self) -> "subprocess.Popen[bytes]":
        if self.process is None or self.owner != os.getpid():
            self.owner = os.getpid()
            self.process = subprocess.Popen(
                # -P: no module is taken from the working folder
                [sys.executable, "-P", "-W", "ignore", "-m", "genzoo_weather.decoder"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for this process alone, which may still want to read
            )
        return self.process

    def _end(self) -> str:
        """Ends the process, if it has not ended; why it has, in words."""
        process, self.process = self.process, None
        if process is None or self.owner != os.getpid():
            return ""
        process.stdout.close()
        with suppress(OSError):  # nobody reads
            process.stdin.close()
        try:
            status = process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if hasattr(signal, "SIGPROF") and status == -signal.SIGPROF:
            return "its library takes for ever"
        return f"its library ended with {signal.Signals(-status).name if status < 0 else f'status {status}'}"


DECODER, ASKERS = Decoder(), count()
atexit.register(DECODER._end)


def open_fields(
    path: str,
    *,
    variables: Sequence[str] | None = None,
    levels_hpa: Sequence[float] | None = None,
    region: Sequence[float] | None = None,
    units: Mapping[str, str] | None = None,
    missing: str = "stop",
    max_mb: float = 1000.0,
    like: Sequence[Variable] | None = None,
) -> Fields:
    """The maps in a file, a folder or a pattern of files, or a Zarr store (local, or gs://, s3://, https://), which are
    read as they are needed, by another process. A NetCDF-4 file can name other files in which its values lie (external
    storage, virtual data sets of HDF5): those are read too; a Zarr store that leads out of itself is refused. Files of
    the same variables are joined along time, others side by side.

    variables: names as in the file or as here (z, msl …); default: all that have latitude and longitude.
    levels_hpa: pressure levels; default all. region: south, north, west, east in degrees.
    units: of variables whose file does not say, or says it wrongly. missing: "stop" or "fill" (the nearest value).
    max_mb: of the axes, of a map with all its channels, and of what must be unpacked at once; more is refused unread.
    like: channels to take, in this order, in place of variables and levels_hpa.
    """
    if "://" in path:
        allowed(path)
    kinds = [[v.name, v.unit, v.level_hpa, v.standard_name, v.source] for v in like or ()]
    told = {"path": os.path.abspath(path) if "://" not in path else path, "variables": variables, "like": kinds}
    told |= {"levels_hpa": levels_hpa, "region": region, "units": units, "missing": missing, "max_mb": max_mb}
    question = json.dumps(told, default=lambda number: number.tolist())  # numpy's
    asked = {"asker": next(ASKERS), "question": question}

    def read(indices: np.ndarray) -> Tensor:
        return torch.from_numpy(DECODER.ask({**asked, "places": np.atleast_1d(indices).tolist()}, path)[1][0])

    about, (latitude, longitude, minutes, member) = DECODER.ask({**asked, "places": None}, path)
    found = [Variable(*values) for values in about["variables"]]
    return Fields(found, latitude, longitude, minutes, member, read, about["remote"])
