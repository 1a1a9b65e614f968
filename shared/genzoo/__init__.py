"""genzoo: small generative models of your own data, trained and sampled with one set of verbs."""

from genzoo.parts import exports

__version__ = "0.1.0"
PARTS = {
    "Model": "model",
    "Samples": "model",
    "UserError": "errors",
    "evaluate": "api",
    "gallery": "api",
    "load": "api",
    "train": "api",
}
"""What Python uses of it, imported when first used, so that `genzoo --help` answers at once."""
__all__ = ["Model", "Samples", "UserError", "evaluate", "gallery", "load", "train"]

__getattr__ = exports(__name__, PARTS)
