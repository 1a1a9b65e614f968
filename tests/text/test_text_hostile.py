"""Text and tokenizers of strangers: refused by name before they cost memory, inert on a terminal, tied to a run."""

import io
import json
import os
import shutil
import subprocess
import sys
import tracemalloc

import pytest
import torch

from genzoo.errors import UserError
from genzoo_text import sources
from genzoo_text.data import TextData
from genzoo_text.tokenizers import BPETokenizer, load_tokenizer

WORDS = "the cat sat on the mat, and the dog lay on the rug\n" * 30


def refused(said: str, call, *words, **options) -> None:
    """Refused with these words, in one line, and at most 20 MB of memory."""
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=said) as error:
            call(*words, **options)
        assert tracemalloc.get_traced_memory()[1] < 20e6
        assert "\n" not in str(error.value)
    finally:
        tracemalloc.stop()


def test_pipes_and_devices(tmp_path):
    """Never opened; in a folder they are no files."""
    os.mkfifo(tmp_path / "pipe.txt")
    for file in ("/dev/zero", tmp_path / "pipe.txt"):
        refused(f"data.path={file} is a pipe or a device, no file", sources.read, str(file), "text")
    refused("the folder holds no .txt", sources.read, str(tmp_path), "text")


def test_large_files(tmp_path):
    """By their sizes together, against a key; a binary file by its beginning."""
    for name in ("a.txt", "b.txt"):
        with open(tmp_path / name, "wb") as out:
            out.truncate(600 * 10**6)
    refused("claims to hold 1,200 MB, and data.max_mb is 1000", sources.read, str(tmp_path), "text")
    refused("a.txt is a binary file", sources.read, str(tmp_path / "a.txt"), "text")
    (tmp_path / "c.txt").write_text(WORDS)
    refused("data.max_mb is 0.001", TextData(path=str(tmp_path / "c.txt"), max_mb=0.001).prepare)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": ' + "[" * 100_000, "line 2: not JSON .maximum recursion"),
        ('{"text": ' + "9" * 5000 + "}", "line 2: not JSON .Exceeds the limit"),
        ('{"\\u001b[2J": 1}', r"line 2: no text field 'text' .there is: \\x1b\[2J.; set data.column="),
        (
            json.dumps(dict.fromkeys(map(str, range(9999)))),
            r"line 2: no text field 'text' .there is: 0, 1, .{,200}\); set",
        ),
    ],
)
def test_lines(tmp_path, line, said):
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n' + line + "\n", encoding="utf-8")
    refused(f"data.path={tmp_path}/a.jsonl {said}", sources.read, str(tmp_path), "text")


def test_whatever_a_reader_raises(tmp_path, monkeypatch):
    """One line with the file's name."""
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n')
    for error, said in ((MemoryError(), "it needs more memory"), (ZeroDivisionError("odd"), "odd")):
        monkeypatch.setattr(sources.json, "loads", lambda line, error=error: (_ for _ in ()).throw(error))
        refused(f"a.jsonl line 1: not JSON .{said}", sources.read, str(tmp_path / "a.jsonl"), "text")


@pytest.mark.parametrize("name", ["a/b/../../x", "..", "a/b/c", "/etc", "a b"])
def test_names_of_sets(name, monkeypatch):
    """Only a name is looked up, never a path."""
    datasets = type(sys)("datasets")
    datasets.load_dataset = lambda *_, **__: pytest.fail("was looked up")
    monkeypatch.setitem(sys.modules, "datasets", datasets)
    with pytest.raises(UserError, match=f"hf://{name} is no name of a data set"):
        sources.read(f"hf://{name}", "text")


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


def test_terminals(tmp_path):
    """Control characters that a vocabulary holds are escapes on a terminal, and themselves in a pipe or a file."""
    data = TextData()
    data.load_state_dict({"tokenizer": {"kind": "char", "characters": "\t\n\x1b2J[é"}})
    tokens = torch.from_numpy(data.tokenizer.encode("é\t\x1b[2J\n"))
    request = data.request(1, prompt="\x1b\n")
    for out, due in ((Terminal(), "\\x1b\né\t\\x1b[2J\n\n"), (io.BytesIO(), "\x1b\né\t\x1b[2J\n\n")):
        data.play(iter(tokens[:, None]), out, request)
        assert out.getvalue().decode() == due
    assert data.write(tokens, tmp_path / "a", request).read_text(encoding="utf-8") == "\x1b\né\t\x1b[2J\n"


def test_ascii_locale(tmp_path):
    """Files are UTF-8 whatever the locale says."""
    (tmp_path / "a.txt").write_text("Grüße aus 日本\n" * 20, encoding="utf-8")
    program = "from genzoo_text.sources import read; print(ascii(read('a.txt', 'text')))"
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    found = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, check=True)
    assert found.stdout.decode().strip() == ascii("Grüße aus 日本\n" * 20)


def test_tokenizers(tmp_path):
    """Of a state of BPE the pieces alone are taken; damaged vocabularies are refused."""
    whole = BPETokenizer.fit(WORDS, 280)
    told = json.loads(whole.state["json"])
    told["padding"] = {
        "strategy": {"Fixed": 10**9},
        "direction": "Right",
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "a",
    }
    told["normalizer"] = {"type": "Replace", "pattern": {"String": "a"}, "content": "b" * 1000}
    padded = load_tokenizer({"kind": "bpe", "json": json.dumps(told)})
    assert padded.encode("a cat").tolist() == whole.encode("a cat").tolist()
    assert padded.state == whole.state
    told["model"]["vocab"]["a"] = 10**9
    with pytest.raises(UserError, match="vocabulary of BPE pieces is damaged"):
        load_tokenizer({"kind": "bpe", "json": json.dumps(told)})
    for characters in ("", "ba", "aab"):
        with pytest.raises(UserError, match="vocabulary of characters is damaged"):
            load_tokenizer({"kind": "char", "characters": characters})


def test_fingerprint_of_a_moved_folder(tmp_path):
    """Moved and touched, the text and its examples are the same; one other character is another text."""
    place = tmp_path / "here"
    place.mkdir()
    for name in ("b.txt", "a.md"):
        (place / name).write_text(name + WORDS)

    def told(folder) -> tuple:
        data = TextData(path=str(folder), context=8)
        data.prepare()
        return data.fingerprint("train"), data.fingerprint("val"), data.batch(7, 3, "train").x.tolist()

    before = told(place)
    shutil.move(place, tmp_path / "a" / "b")
    os.utime(tmp_path / "a" / "b" / "b.txt", (1, 1))
    assert told(tmp_path / "a" / "b") == before
    (tmp_path / "a" / "b" / "a.md").write_text("a.me" + WORDS)
    assert told(tmp_path / "a" / "b")[0] != before[0]
    assert told(tmp_path / "a" / "b")[1] == before[1]
    with pytest.raises(UserError, match="split is train or val"):
        TextData().fingerprint("train")
