"""torchaudio with and without its compiled part, the real one and stand-ins, each in a process of its own."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from genzoo_audio.backend import load_torchaudio

UTILS = "def _load_lib(library):\n    raise OSError('libcudart.so.13: cannot open shared object file')\n"
INIT = """
from .utils import _load_lib
_IS_TORCHAUDIO_EXT_AVAILABLE = _load_lib("_torchaudio")
"""

ASK = """
import sys
from genzoo.errors import UserError
from genzoo_audio.backend import load_torchaudio
before = list(sys.meta_path)
try:
    found = load_torchaudio()
    assert found is sys.modules["torchaudio"] is load_torchaudio()
    print(found.answer, found._extension._IS_TORCHAUDIO_EXT_AVAILABLE)
except UserError as error:
    print("UserError:", error)
assert sys.meta_path == before
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A package called torchaudio whose library cannot be loaded."""
    files = {
        "torchaudio/__init__.py": "from . import early\nfrom . import _extension\nanswer = early.count\n",
        "torchaudio/early.py": "import builtins\nbuiltins.times = count = getattr(builtins, 'times', 0) + 1\n",
        "torchaudio/_extension/__init__.py": INIT,
        "torchaudio/_extension/utils.py": UTILS,
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path / "torchaudio"


def asked(package: Path, code: str = ASK) -> str:
    """What a process says that finds this torchaudio first."""
    begin = f"import sys\nsys.path.insert(0, {str(package.parent)!r})\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-B", "-c", begin + textwrap.dedent(code)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_one_that_works_is_left_alone(stand_in):
    """It is imported once, its library is loaded, and whoever imported it before has the same module."""
    (stand_in / "_extension" / "utils.py").write_text("def _load_lib(library):\n    return True\n")
    assert asked(stand_in) == "1 True"
    assert asked(stand_in, "import torchaudio as first\n" + ASK + "assert found is first") == "1 True"


@pytest.mark.parametrize("kind", ["OSError", "RuntimeError"])
def test_rescued(stand_in, kind):
    """All of it is imported anew, without the library, whatever is loaded in its place; no file is written."""
    (stand_in / "_extension" / "utils.py").write_text(UTILS.replace("OSError", kind))
    files = {path: path.read_bytes() for path in stand_in.rglob("*") if path.is_file()}
    assert asked(stand_in) == "2 False"
    assert {path: path.read_bytes() for path in stand_in.rglob("*") if path.is_file()} == files


def test_library_for_another_cuda(stand_in):
    """The library is there and another part of _extension complains."""
    (stand_in / "_extension" / "utils.py").write_text("def _load_lib(library):\n    return True\n")
    check = "if _IS_TORCHAUDIO_EXT_AVAILABLE:\n    raise RuntimeError('compiled with different CUDA versions')\n"
    (stand_in / "_extension" / "__init__.py").write_text(INIT + check)
    assert asked(stand_in) == "2 False"


def test_another_fault(stand_in):
    """One line that names the reason and the mend; a fault that stays is told as it first was."""
    mend = "install it anew, pip install 'genzoo[audio]'"
    init = stand_in / "_extension" / "__init__.py"
    init.write_text("raise ImportError('undefined\\nsymbol')\n")
    assert asked(stand_in) == f"UserError: torchaudio cannot be imported (undefined symbol): {mend}"
    init.write_text("raise OSError('the disk is gone')\n")
    assert asked(stand_in) == f"UserError: torchaudio cannot be imported (the disk is gone): {mend}"


def test_not_installed(stand_in):
    """The line names the extra; also where something that it needs is missing."""
    without = "import sys\nsys.modules['torchaudio'] = None\n" + ASK
    assert asked(stand_in, without) == "UserError: torchaudio is not installed: pip install 'genzoo[audio]'"
    (stand_in / "_extension" / "__init__.py").write_text("import no_such_module\n")
    assert asked(stand_in) == "UserError: no_such_module is not installed: pip install 'genzoo[audio]'"


def test_the_installed_one():
    """Whichever state it is in here, what we use of it works, and asking again gives the same module."""
    import torch

    found = load_torchaudio()
    assert found is load_torchaudio()
    x = torch.linspace(-1, 1, 101)
    decoded = found.functional.mu_law_decoding(found.functional.mu_law_encoding(x, 256), 256)
    assert (decoded - x).abs().max() < 0.025
    assert found.functional.resample(x, 2, 1).shape == (51,)
    assert found.transforms.MelSpectrogram(8000, n_fft=512, n_mels=20)(x.repeat(10)).shape == (20, 4)
