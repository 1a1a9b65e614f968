"""genzoo: small generative models of your own data, trained and sampled with one set of verbs."""

from importlib import import_module

__version__ = "0.1.0"
__all__ = ["Model", "Samples", "UserError", "evaluate", "gallery", "load", "train"]


def __getattr__(name: str) -> object:
    """`genzoo.train` and its like are loaded when they are first used, so that `genzoo --help` answers at once."""
    if name == "UserError":
        return import_module("genzoo.errors").UserError
    if name in __all__:
        return getattr(import_module("genzoo.api"), name)
    raise AttributeError(f"module 'genzoo' has no attribute {name!r}")
