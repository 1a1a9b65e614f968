"""Public sets of recordings: where they are, what their names say, how they come onto this machine."""

import os
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from genzoo.download import cache_folder, download
from genzoo.errors import UserError
from genzoo.reading import judge, reason


@dataclass(frozen=True)
class Public:
    """A .tar.gz at an address. inside: the folder of recordings in it. labels, val_match: as `sources.find_clips` has
    them, where nothing else is asked for. megabytes: to fetch."""

    url: str
    sha256: str
    inside: str
    megabytes: int
    licence: str
    labels: str | None = None
    val_match: str | None = None


PUBLIC = {
    "fsdd": Public(
        "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.tar.gz",
        "feb479fad3a37883c3d21ed7f982281c2dd1c18d5aefd7e8a5d50f58023392aa",
        "free-spoken-digit-dataset-1.0.10/recordings",
        16,
        "CC BY-SA 4.0",
        labels="{digit}_{speaker}_{}",
        val_match="*_[0-4].wav",
    ),
    "speech_commands": Public(
        "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
        "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
        ".",
        2429,
        "CC BY 4.0",
    ),
}
"""Free Spoken Digits 1.0.10 (the hash is of `git archive` of the tag d6938f9b, which is what the address serves) and
Speech Commands 0.02 (the hash as torchaudio publishes it)."""


PACKED = 10
"""Times that an archive may grow when it is unpacked; recordings hardly do."""


def place_of(name: str) -> Path:
    """The folder of a public set; downloaded and unpacked the first time."""
    public = PUBLIC[name]
    place = cache_folder() / name
    if not place.is_dir():
        print(f"{name}: {public.megabytes} MB from {public.url}, {public.licence}", file=sys.stderr)
        archive = download(public.url, public.sha256, name=f"{name}.tar.gz")
        unpack(archive, public.inside, to=place, max_mb=PACKED * public.megabytes)
    return place


def unpack(archive: Path, inside: str, *, to: Path, max_mb: float) -> None:
    """One folder of a .tar.gz file, whole or not at all; UserError where the archive reaches outside of it, or claims
    to hold more."""
    claimed = 0

    def judged(part: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
        nonlocal claimed
        claimed += part.size + tarfile.BLOCKSIZE
        judge(claimed, max_mb, "the most")
        return tarfile.data_filter(part, folder)

    with tempfile.TemporaryDirectory(dir=to.parent) as kept:
        try:
            with tarfile.open(archive, "r:gz") as opened:
                opened.extractall(Path(kept) / "all", filter=judged)
            os.replace(Path(kept) / "all" / inside if inside != "." else Path(kept) / "all", to)
        except tarfile.FilterError as error:
            raise UserError(f"{archive} holds {error.tarinfo.name!r}, which lies outside of it: delete it") from error
        except Exception as error:
            mend = "delete it, and it is fetched again"
            raise UserError(f"{archive} cannot be unpacked ({reason(error)}): {mend}") from error
