"""safetensors files that know their own SHA-256, so that a single changed bit anywhere in them is seen.

The hash stands in the metadata under "sha256" and is that of all bytes of the file with 64 zeros in its own place.
"""

import hashlib
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save

from genzoo.reading import Broken

KEY = b'"sha256":"'
"""Before the hash in the header. Within any JSON text its quotes would be escaped, so it stands nowhere else."""
ZEROS = b"0" * 64


def seal(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file with its own hash."""
    return b"".join(sealed_parts(tensors, metadata))


def sealed_parts(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> list[Any]:
    """Those bytes in three parts, of which the last, by far the largest, is not copied."""
    content = memoryview(save(dict(tensors), {**(metadata or {}), "sha256": ZEROS.decode()}))
    header = bytes(content[: 8 + int.from_bytes(content[:8], "little")])
    place = header.index(KEY) + len(KEY)
    return [content[:place], hashlib.sha256(content).hexdigest().encode(), content[place + 64 :]]


def check(file: Path) -> bool:
    """Whether the file bears a hash; Broken where it is not that of its bytes."""
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        header = 8 + int.from_bytes(content[:8], "little")
        place = content.find(KEY, 0, min(header, len(content))) + len(KEY)
        if place < len(KEY):
            return False
        digest = hashlib.sha256(content[:place])
        digest.update(ZEROS)
        with memoryview(content) as view, view[place + 64 :] as rest:
            digest.update(rest)
        if content[place : place + 64] != digest.hexdigest().encode():
            raise Broken("is damaged or cut short: its bytes are not those that were written (SHA-256)")
        return True


def unseal(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file that must bear its hash; Broken where it does not."""
    if not check(file):
        raise Broken("bears no hash")
    with safe_open(file, framework="pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
