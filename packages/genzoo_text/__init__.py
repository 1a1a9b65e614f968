"""Text: characters, bytes or BPE tokens, and an autoregressive transformer over them."""

from genzoo.parts import exports

PARTS = {
    "TextData": "data",
}
"""Their classes that a configuration names, with the modules that they are in."""

__getattr__ = exports(__name__, PARTS)
