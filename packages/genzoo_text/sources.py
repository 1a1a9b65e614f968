"""Where text comes from: the embedded default, a user's files, public sets."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from genzoo.download import download
from genzoo.errors import UserError

SHAKESPEARE = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
)
TEXT8 = (
    "http://mattmahoney.net/dc/text8.zip",
    "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
)
SUFFIXES = (".txt", ".md", ".jsonl")
SEPARATOR = "\n\n"
"""What stands between documents."""


def read(path: str, column: str) -> str:
    """The whole text that `data.path` names; UserError where there is none."""
    if path == "builtin":
        return python_reference()
    if path == "shakespeare":
        return download(*SHAKESPEARE, name="tinyshakespeare.txt").read_text(encoding="utf-8")
    if path == "text8":
        with zipfile.ZipFile(download(*TEXT8, name="text8.zip")) as archive:
            return archive.read("text8").decode("ascii")
    if path.startswith("hf://"):
        return SEPARATOR.join(hugging_face(path.removeprefix("hf://"), column))
    if not path:
        raise UserError("data.path is empty: give builtin, a file or a folder")
    place = Path(path).expanduser()
    if not place.exists():
        raise UserError(f"data.path={path}: there is no such file or folder")
    if place.is_file():
        return read_file(place, column)
    files = sorted(f for f in place.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    if not files:
        raise UserError(f"data.path={path}: the folder holds no {', '.join(SUFFIXES)} file")
    return SEPARATOR.join(read_file(file, column) for file in files)


def python_reference() -> str:
    """The language reference that ships with every Python (`pydoc_data.topics`), about 700,000 characters."""
    from pydoc_data.topics import topics

    return SEPARATOR.join(topics[name].strip() for name in sorted(topics))


def read_file(file: Path, column: str) -> str:
    """One txt, md or jsonl file (another suffix is read as plain text)."""
    content = file.read_bytes()
    if not content.strip():
        raise UserError(f"{file} is empty")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file} is not UTF-8 text (byte {error.start}): convert it, or name a text file in data.path"
        ) from None
    if "\0" in text:
        raise UserError(f"{file} is a binary file (a zero byte at {text.index(chr(0))}): name a text file in data.path")
    text = text.replace("\r\n", "\n")
    return SEPARATOR.join(json_lines(text, file, column)) if file.suffix.lower() == ".jsonl" else text


def json_lines(text: str, file: Path, column: str) -> Iterator[str]:
    """The field `column` of each line."""
    for number, line in enumerate(io.StringIO(text), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{file}, line {number}: not JSON ({error.msg})") from None
        if not isinstance(row, dict) or not isinstance(row.get(column), str):
            fields = ", ".join(row) if isinstance(row, dict) else type(row).__name__
            raise UserError(f"{file}, line {number}: no text field {column!r} (there is: {fields}); set data.column=")
        yield row[column].encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # "\ud83d" alone is no text


def hugging_face(name: str, column: str) -> Iterator[str]:
    """The column of the train split of a Hugging Face data set; needs the extra `huggingface`."""
    try:
        from datasets import load_dataset
    except ModuleNotFoundError as error:
        raise UserError("data.path=hf://… needs datasets: pip install 'genzoo[huggingface]'") from error
    try:
        rows = load_dataset(name, split="train")
    except (OSError, ValueError) as error:
        raise UserError(f"data.path=hf://{name}: {error}") from error
    if column not in rows.column_names:
        raise UserError(
            f"hf://{name} has no column {column!r} (there is: {', '.join(rows.column_names)}); set data.column="
        )
    return (row[column] for row in rows if row[column])
