"""The names of a package's parts: `genzoo_points.CellFlow`, whatever file it is in.

Configurations and checkpoints name parts as their package exports them, so that files can be moved.
"""

from collections.abc import Callable, Mapping
from importlib import import_module


def exports(package: str, parts: Mapping[str, str]) -> Callable[[str], object]:
    """The `__getattr__` of a package that imports a part when it is first asked for (PEP 562). parts: the module below
    the package that each is in, by name."""

    def __getattr__(name: str) -> object:
        if name not in parts:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{parts[name]}"), name)

    return __getattr__
