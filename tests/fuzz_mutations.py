"""One mutator of bytes, for inputs of every format: deterministic from its generator."""

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

TARGET = "zq"
"""How names of files begin that are mutated; where a seed has none such, all of its files are."""

Files = Mapping[str, bytes]

NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
WORD = re.compile(rb"[A-Za-z_]{2,}|\d+")
EXTREMES = (b"1e400", b"-1", b"0", b"1" + b"0" * 20, b"nan", b"9" * 5000, b"-0.0", b"inf", b"0.5", b"2147483648")
ODD = (b"\xff\xfe", b"\xef\xbb\xbf", b"\x00", b"\x1b[2J", b"\xe9", b"\r", b"\n", b"\xed\xa0\x80", b"'", b'"', b"${x}")
NESTS = (b"[", b'{"a":', b"(", b"{", b"<", b"((", b"- ")
VALUES = (
    [],
    {},
    None,
    True,
    "",
    "x\x1b[2J",
    -1,
    0,
    1e308,
    10**20,
    0.5,
    float("nan"),
    [[]],
    {"tensor": "x"},
    ["a"] * 99,
)


def span(data: bytearray, rng: random.Random) -> tuple[int, int]:
    """A place and an end, mostly near by."""
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 2, 4, 8, 16, 64, 256, max(1, len(data) // 2))))


def flip(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64)) if data else 0):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def fill(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> bytes:
    a, b = span(data, rng)
    return data[:a] + rng.choice((bytes(b - a), b"\xff" * (b - a), rng.randbytes(b - a))) + data[b:]


def cut(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> bytes:
    return data[: rng.choice((rng.randrange(len(data) + 1), rng.randrange(min(64, len(data)) + 1), len(data) - 1))]


def delete(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> bytes:
    a, b = span(data, rng)
    return data[:a] + data[b:]


def repeat(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> bytes:
    a, b = span(data, rng)
    return data[:b] + data[a:b] * rng.choice((1, 1, 3, 1 + 20000 // (b - a + 1))) + data[b:]


def splice(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> bytes:
    other = bytearray(rng.choice(others))
    a, b = span(other, rng)
    place = rng.randrange(len(data) + 1)
    return rng.choice((data[:place] + other[a:], data[:place] + other[a:b] + data[place + b - a :]))


def number(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> bytes:
    found = [*NUMBER.finditer(bytes(data[:100_000]))]
    if not found:
        return flip(data, rng, others)
    at = rng.choice(found)
    return data[: at.start()] + rng.choice(EXTREMES) + data[at.end() :]


def header(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """A whole number at the edge of its range, where headers stand or anywhere."""
    size = rng.choice((1, 2, 4, 8))
    top = 1 << 8 * size - 1
    value = rng.choice((0, 1, 2 * top - 1, top, top - 1, top // 1000, top - rng.randrange(1, 9), rng.randrange(256)))
    place = rng.randrange(1 + min(len(data), rng.choice((16, 64, 256, len(data)))))
    return data[:place] + value.to_bytes(size, rng.choice(("little", "big"))) + data[place + size :]


def nest(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> bytes:
    place = rng.choice([m.start() for m in re.finditer(rb"[\[{(:]", data[:10_000])] or [0]) if rng.random() < 0.7 else 0
    return data[:place] + rng.choice(NESTS) * rng.choice((1, 200, 10_000, 100_000)) + data[place:]


def word(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> bytes:
    mine, theirs = ([*WORD.finditer(bytes(text[:100_000]))] for text in (data, rng.choice(others)))
    if not mine or not theirs:
        return fill(data, rng, others)
    at = rng.choice(mine)
    return data[: at.start()] + rng.choice(theirs).group() + data[at.end() :]


def odd(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> bytes:
    place = rng.choice((0, rng.randrange(len(data) + 1), len(data)))
    return data[:place] + rng.choice(ODD) + data[place + rng.choice((0, 0, 1)) :]


def nodes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key in value if isinstance(value, dict) else range(min(len(value), 50)) if isinstance(value, list) else ():
        yield from nodes(value[key], (*path, key))


def changed(value: Any, path: tuple[Any, ...], rng: random.Random) -> Any:
    """A tree with another node at the end of a path: another value, or key, or none."""
    if not path:
        return rng.choice(VALUES)
    value, key = (dict if isinstance(value, dict) else list)(value), path[0]
    if len(path) > 1 or rng.random() < 0.7:
        value[key] = changed(value[key], path[1:], rng)
    elif rng.random() < 0.5:
        del value[key]
    elif isinstance(value, dict):
        value[rng.choice((f"{key}_", "", "_target_", "x" * 10_000))] = value.pop(key)
    else:
        value.insert(key, value[key])
    return value


def tree(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """A node of JSON, also of the JSON at the head of safetensors and GLB."""
    head, end = 0, len(data)
    if data[8:9] == b"{":
        head, end = 8, 8 + int.from_bytes(data[:8], "little")
    elif data[:4] == b"glTF":
        head, end = 20, 20 + int.from_bytes(data[12:16], "little")
    try:
        value = json.loads(data[head:end].decode())
        text = json.dumps(changed(value, rng.choice([*nodes(value)]), rng)).encode()
    except (ValueError, RecursionError):
        return rng.choice((number, word))(data, rng, others)
    text += b" " * (-len(text) % 8 if head else 0)
    size = {0: b"", 8: len(text).to_bytes(8, "little"), 20: len(text).to_bytes(4, "little")}[head]
    return data[: 12 if head == 20 else 0] + size + data[16:20] * (head == 20) + text + data[end:]


MUTATIONS = (*(flip, cut, number, header, tree) * 2, fill, delete, repeat, splice, nest, word, odd)


def mutate(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Other bytes; others: of seeds of the format, from which parts are taken."""
    result = data
    while result == data:
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            result = bytes(rng.choice(MUTATIONS)(bytearray(result), rng, others))
    return result


def case(files: Files, rng: random.Random) -> tuple[dict[str, bytes], str]:
    """The files with one of them mutated, or lost, empty or renamed; and the name of that whose bytes are others."""
    mine = sorted(name for name in files if Path(name).name.startswith(TARGET)) or sorted(files)
    name, other, result = rng.choice(mine), rng.choice(mine), dict(files)
    if len(mine) == 1 or rng.random() < 0.9:
        result[name] = mutate(files[name], rng, [files[each] for each in mine])
        return result, name
    content = result.pop(name)
    renamed = str(Path(name).with_suffix(Path(other).suffix))
    if place := rng.choice(("", name, renamed, f"{name}_copy", f"{name}/{other}")):
        result[place] = b"" if place == name else content
    return result, ""
