"""Text is read from every place and form that data.path names, and what is no text is refused by name."""

import builtins
import hashlib
import json
import sys
import types
import zipfile
from pathlib import Path

import pytest

from genzoo.errors import UserError
from genzoo_text import sources

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "text"


def lines(*rows: object) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.TXT", "a.rst", "noending"])
def test_text_files(tmp_path, name):
    """Any text file the user names is read as it is, whatever its ending."""
    (tmp_path / name).write_text("# Grüße 日本 😀\n\nline\n", encoding="utf-8")
    assert sources.read(str(tmp_path / name), "text") == "# Grüße 日本 😀\n\nline\n"


def test_windows_files(tmp_path):
    """A byte-order mark is no character of the text, and line ends become one character."""
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert sources.read(str(tmp_path / "a.txt"), "text") == "one\ntwo\n"


def test_home_folder(tmp_path, monkeypatch):
    """~ is the user's home, as in a shell."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").write_text("mine")
    assert sources.read("~/a.txt", "text") == "mine"


def test_jsonl(tmp_path):
    """One document a line; other fields and blank lines are passed over; line ends inside strings stay."""
    rows = [{"id": 1, "text": "eins\nzwei"}, {"text": "drei 😀", "x": None}]
    (tmp_path / "a.jsonl").write_text(lines(rows[0]) + "\n  \n" + lines(rows[1]), encoding="utf-8")
    assert sources.read(str(tmp_path / "a.jsonl"), "text") == "eins\nzwei\n\ndrei 😀"


def test_jsonl_column(tmp_path):
    """data.column chooses the field."""
    (tmp_path / "a.jsonl").write_text(lines({"text": "no", "body": "yes"}))
    assert sources.read(str(tmp_path / "a.jsonl"), "body") == "yes"


def test_jsonl_separators_inside_strings(tmp_path):
    """Only a line feed ends a line: the Unicode line and paragraph separators may stand inside a string."""
    text = "a\u2028b\u2029c\x85d\x0be"
    (tmp_path / "a.jsonl").write_text(lines({"text": text}, {"text": "f"}), encoding="utf-8")
    assert sources.read(str(tmp_path / "a.jsonl"), "text") == f"{text}\n\nf"


def test_jsonl_half_characters(tmp_path):
    """JSON can name half a surrogate pair, which no file can hold: what is read can be written and tokenized."""
    (tmp_path / "a.jsonl").write_text('{"text": "whole \\ud83d\\ude00, half \\ud83d!"}\n')
    text = sources.read(str(tmp_path / "a.jsonl"), "text")
    assert text.startswith("whole 😀, half ")
    text.encode("utf-8")


def test_folder(tmp_path):
    """All txt, md and jsonl files at any depth, in the order of their paths, and nothing else."""
    for name, content in {
        "b.txt": "second",
        "a/z.md": "first",
        "c/d/e.jsonl": lines({"text": "third"}, {"text": "fourth"}),
        "d.TXT": "fifth",
        "a.png": "\0picture",
        "c/code.py": "print()",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "folder.txt").mkdir()
    assert sources.read(str(tmp_path), "text") == "first\n\nsecond\n\nthird\n\nfourth\n\nfifth"


@pytest.mark.parametrize("content", [b"", b" \n\t\r\n  \n"], ids=["empty", "whitespace"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_empty_files(tmp_path, name, content):
    """A file without a character is named."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} is empty"):
        sources.read(str(tmp_path / name), "text")


@pytest.mark.parametrize(
    "content",
    [b"text \0 text", bytes(range(256)), b"caf\xe9", "text".encode("utf-16"), b"\x89PNG\r\n\x1a\n\0\0"],
    ids=["zero byte", "all bytes", "latin-1", "utf-16", "png"],
)
def test_binary_files(tmp_path, content):
    """What is not UTF-8 text is named, and what to do is said."""
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.txt is (not UTF-8 text|a binary file).*name a text file") as refusal:
        sources.read(str(tmp_path / "a.txt"), "text")
    assert "\n" not in str(refusal.value)


def test_binary_file_in_a_folder(tmp_path):
    """The one bad file among good ones is named."""
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "worse.txt").write_bytes(b"\xff\xfe\0")
    with pytest.raises(UserError, match=r"worse\.txt"):
        sources.read(str(tmp_path), "text")


def test_folder_without_text(tmp_path):
    """The message says what was looked for."""
    (tmp_path / "a.png").write_bytes(b"\0")
    with pytest.raises(UserError, match=r"holds no \.txt, \.md, \.jsonl"):
        sources.read(str(tmp_path), "text")


def test_missing_path(tmp_path):
    """The key and the path are named."""
    with pytest.raises(UserError, match=r"data\.path=.*nothere\.txt: there is no such file"):
        sources.read(str(tmp_path / "nothere.txt"), "text")


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ('{"text": "unclosed', "not JSON"),
        ('{"body": "b", "id": 3}', r"no text field 'text' \(there is: body, id\)"),
        ('{"text": 5}', "no text field 'text'"),
        ('["text"]', "no text field 'text'"),
        ('"text"', "no text field 'text'"),
    ],
)
def test_jsonl_errors_have_a_line_number(tmp_path, bad, says):
    """File, line and mend in one line; blank lines count."""
    (tmp_path / "a.jsonl").write_text(lines({"text": "good"}) + "\n" + bad + "\n")
    with pytest.raises(UserError, match=rf"a\.jsonl line 3: {says}") as refusal:
        sources.read(str(tmp_path / "a.jsonl"), "text")
    assert "not JSON" in says or "data.column=" in str(refusal.value)


def test_builtin():
    """The embedded text needs no file, is long enough to learn from, and does not change."""
    text = sources.read("builtin", "text")
    assert len(text) > 300_000
    assert "lambda" in text
    assert sources.read("builtin", "text") == text
    assert "\0" not in text


def test_builtin_opens_no_connection(monkeypatch):
    """The default works on a machine without a network."""

    def refuse(*args, **options):
        raise AssertionError("a download")

    monkeypatch.setattr(sources, "download", refuse)
    assert sources.read("builtin", "text")


@pytest.fixture
def downloads(tmp_path, monkeypatch):
    """Replaces the download by files made here; returns what was asked for."""
    asked = []

    def download(url, sha256, *, name, **options):
        asked.append((url, sha256, name))
        file = tmp_path / name
        if name.endswith(".zip"):
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("text8", " anarchism originated")
        else:
            file.write_text("First Citizen:\nBefore we proceed …\n", encoding="utf-8")
        return file

    monkeypatch.setattr(sources, "download", download)
    return asked


@pytest.mark.parametrize(
    ("path", "want"),
    [("shakespeare", "First Citizen:\nBefore we proceed …\n"), ("text8", " anarchism originated")],
)
def test_public_texts(downloads, path, want):
    """Both come through the one checked download: an address, and the SHA-256 that the file must have."""
    assert sources.read(path, "text") == want
    [(url, sha256, _)] = downloads
    assert url.startswith(("https://", "http://"))
    assert len(sha256) == 64
    assert int(sha256, 16)


def test_public_texts_do_not_share_a_cache_entry(downloads):
    """Their names in the cache differ."""
    sources.read("shakespeare", "text")
    sources.read("text8", "text")
    assert len({name for _, _, name in downloads}) == 2


def test_shakespeare_is_the_known_file():
    """The SHA-256 asked for is that of the file people know."""
    file = REAL / "tinyshakespeare.txt"
    if not file.is_file():
        pytest.skip("real data is not beside the checkout")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == sources.SHAKESPEARE[1]


class Rows(list):
    """As much of a Hugging Face data set as is needed."""

    column_names = ("text", "title")


@pytest.fixture
def hugging_face(monkeypatch):
    """A module `datasets` that knows one set; returns what was asked of it."""
    asked = []

    def load_dataset(name, *more, split, **options):
        asked.append((name, split))
        if name != "me/poems":
            raise FileNotFoundError(f"Dataset '{name}' doesn't exist on the Hub\nor cannot be accessed.")
        return Rows([{"text": "one", "title": "A"}, {"text": "two", "title": "B"}])

    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    return asked


def test_hugging_face(hugging_face):
    """hf://NAME is the train split of that set, documents apart."""
    assert sources.read("hf://me/poems", "text") == "one\n\ntwo"
    assert sources.read("hf://me/poems", "title") == "A\n\nB"
    assert hugging_face == [("me/poems", "train")] * 2


def test_hugging_face_missing_column(hugging_face):
    """The missing column, the ones there are, and the key to set are named."""
    with pytest.raises(UserError, match=r"hf://me/poems has no column 'body' \(there is: text, title\).*data\.column="):
        sources.read("hf://me/poems", "body")


def test_hugging_face_missing_set(hugging_face):
    """A misspelt name is a mistake of the user, not a traceback."""
    with pytest.raises(UserError, match="me/peoms"):
        sources.read("hf://me/peoms", "text")


def test_hugging_face_rows_without_text(hugging_face, monkeypatch):
    """Public sets have rows whose text is missing: they add nothing."""
    rows = Rows([{"text": "one", "title": "A"}, {"text": None, "title": "B"}])
    monkeypatch.setattr(sys.modules["datasets"], "load_dataset", lambda name, *more, **options: rows)
    assert sources.read("hf://me/poems", "text").strip() == "one"


def test_hugging_face_not_installed(monkeypatch):
    """Without the library the message is the command that installs it."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'genzoo\[huggingface\]'"):
        sources.read("hf://me/poems", "text")


def test_own_files_need_no_datasets(tmp_path, monkeypatch):
    """Only hf:// imports the heavy library."""
    real = builtins.__import__

    def watched(name, *args, **options):
        assert name.partition(".")[0] != "datasets"
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", watched)
    (tmp_path / "a.txt").write_text("text")
    assert sources.read(str(tmp_path / "a.txt"), "text") == "text"
