"""What was made of many files, kept in the cache folder for the next time: whole, or not at all."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def folder_beside(place: Path) -> Path | None:
    """A new folder to write to; None where none can be made."""
    try:
        unfinished = place.with_name(f".unfinished-{place.name}-{os.getpid()}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        return unfinished
    except OSError:
        return None


def keep(unfinished: Path, place: Path) -> None:
    """A folder under its name, unless another process was faster. OSError where it cannot be had."""
    try:
        os.rename(unfinished, place)
    except OSError:
        if not place.is_dir():
            raise


def keep_file(file: Path, write: Callable[[BinaryIO], object]) -> None:
    """A file that `write` fills; where the cache folder cannot be written, there is none."""
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as opened:
            write(opened)
        os.replace(part, file)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
