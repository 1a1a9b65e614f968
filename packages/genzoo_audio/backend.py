"""torchaudio, also beside a torch that its compiled part was not made for.

torchaudio's wheel is linked against one CUDA. Beside a torch for the CPU importing it raises an OSError, beside one for
another CUDA a RuntimeError. What we use of it (mel, mu-law, resampling, Griffin-Lim) is plain torch, and it has a mode
of its own without the compiled part: the one it falls into where the library's file is not there.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from threading import Lock
from types import ModuleType

from genzoo.errors import UserError

LOADER_OF_LIBRARIES = "torchaudio._extension.utils"
"""The module whose `_load_lib` says whether there is a compiled part."""

_lock = Lock()


def load_torchaudio() -> ModuleType:
    """The module torchaudio, as it is where it can be imported, else without its compiled part; from any thread.

    No installed file is touched, and nothing changes where it is imported already. UserError where it is not installed,
    or cannot be imported for another reason.
    """
    with _lock:
        try:
            return importlib.import_module("torchaudio")
        except ModuleNotFoundError as error:
            raise UserError(f"{error.name} is not installed: pip install 'genzoo[audio]'") from error
        except (OSError, RuntimeError) as error:
            reason = error
        except Exception as error:  # whatever a broken installation raises
            raise unusable(error) from error
        try:
            return without_compiled_part()
        except Exception as error:
            raise unusable(reason) from error


def without_compiled_part() -> ModuleType:
    """Imports torchaudio anew, in the mode in which it loads no library."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        del sys.modules[name]
    hook = NoLibraries()
    sys.meta_path.insert(0, hook)
    try:
        return importlib.import_module("torchaudio")
    finally:
        sys.meta_path.remove(hook)


class NoLibraries:
    """A finder on sys.meta_path after which torchaudio finds no library to load."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != LOADER_OF_LIBRARIES:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            module._load_lib = lambda library: False

        spec.loader.exec_module = exec_module
        return spec


def unusable(reason: Exception) -> UserError:
    """In one line, whatever the reason has."""
    words = " ".join(str(reason).split()) or type(reason).__name__
    return UserError(f"torchaudio cannot be imported ({words}): install it anew, pip install 'genzoo[audio]'")
