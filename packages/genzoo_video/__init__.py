"""Video: clips from films, pictures and arrays as frames to generate, continue and score."""

from genzoo.parts import exports

PARTS = {
    "PatchCritic": "autoencoder",
    "VideoAutoencoder": "autoencoder",
    "VideoCritic": "net",
    "VideoData": "data",
    "VideoNet": "net",
}
"""Their classes that a configuration names, with the modules that they are in."""

__getattr__ = exports(__name__, PARTS)
