"""Where text comes from: the embedded default, a user's files, public sets."""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from genzoo.download import allowed, download
from genzoo.errors import UserError
from genzoo.reading import Broken, judge, printable, reading, reason, unpacked_bytes

SHAKESPEARE = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
)
TEXT8 = (
    "http://mattmahoney.net/dc/text8.zip",
    "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
)
HUB = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
SUFFIXES = (".txt", ".md", ".jsonl")
MAX_MB = 1000.0
"""Of text, where nothing else is asked for."""
HEAD = 1 << 20
"""Bytes that are looked at before the others are read."""
SEPARATOR = "\n\n"
"""What stands between documents."""


def read(path: str, column: str, max_mb: float = MAX_MB) -> str:
    """The whole text that `data.path` names; UserError where there is none, or more than so many megabytes."""
    if path == "builtin":
        return python_reference()
    if path == "shakespeare":
        return download(*SHAKESPEARE, name="tinyshakespeare.txt").read_text(encoding="utf-8")
    if path == "text8":
        with reading(download(*TEXT8, name="text8.zip")) as file, zipfile.ZipFile(file) as archive:
            judge(unpacked_bytes(file), max_mb)
            return archive.read("text8").decode("ascii")
    if path.startswith("hf://"):
        return SEPARATOR.join(hugging_face(path.removeprefix("hf://"), column))
    if not path:
        raise UserError("data.path is empty: give builtin, a file or a folder")
    place = Path(path).expanduser()
    if not place.exists():
        raise UserError(f"data.path={path}: there is no such file or folder")
    if place.is_dir():
        files = sorted(f for f in place.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    else:
        files = [place]
    if not files:
        raise UserError(f"data.path={path}: the folder holds no {', '.join(SUFFIXES)} file")
    with reading(place):
        judge(sum(file.stat().st_size for file in files), max_mb)
    return SEPARATOR.join(read_file(file, column) for file in files)


def python_reference() -> str:
    """The language reference that ships with every Python (`pydoc_data.topics`), about 700,000 characters."""
    from pydoc_data.topics import topics

    return SEPARATOR.join(topics[name].strip() for name in sorted(topics))


def read_file(file: Path, column: str) -> str:
    """One txt, md or jsonl file (another suffix is read as plain text)."""
    with reading(file), open(file, "rb") as opened:
        content = opened.read(HEAD)
        if b"\0" not in content:
            content += opened.read()
        if b"\0" in content:
            raise Broken(f"is a binary file (a zero byte at {content.index(0)}): name a text file in data.path")
        if not content.strip():
            raise Broken("is empty")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Broken(
                f"is not UTF-8 text (byte {error.start}): convert it, or name a text file in data.path"
            ) from None
        text = text.replace("\r\n", "\n")
        return SEPARATOR.join(json_lines(text, column)) if file.suffix.lower() == ".jsonl" else text


def json_lines(text: str, column: str) -> Iterator[str]:
    """The field `column` of each line."""
    for number, line in enumerate(io.StringIO(text), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except Exception as error:
            raise Broken(f"line {number}: not JSON ({reason(error)})") from None
        if not isinstance(row, dict) or not isinstance(row.get(column), str):
            fields = printable(", ".join(row)[:200]) if isinstance(row, dict) else type(row).__name__
            raise Broken(f"line {number}: no text field {column!r} (there is: {fields}); set data.column=")
        yield row[column].encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # "\ud83d" alone is no text


def hugging_face(name: str, column: str) -> Iterator[str]:
    """The column of the train split of a Hugging Face data set; needs the extra `huggingface`."""
    allowed(f"hf://{name}")
    try:
        from datasets import load_dataset
    except ModuleNotFoundError as error:
        raise UserError("data.path=hf://… needs datasets: pip install 'genzoo[huggingface]'") from error
    if not HUB.fullmatch(name):
        raise UserError(f"data.path=hf://{name} is no name of a data set: it is as hf://OWNER/NAME")
    try:
        rows = load_dataset(name, split="train")
    except Exception as error:
        raise UserError(f"data.path=hf://{name}: {reason(error)}") from error
    if column not in rows.column_names:
        raise UserError(
            f"hf://{name} has no column {column!r} (there is: {', '.join(rows.column_names)}); set data.column="
        )
    return (row[column] for row in rows if row[column])
