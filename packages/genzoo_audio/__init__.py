"""Audio and music: waveforms as tokens, a learned codec, chorales, and the transformers over them."""

from genzoo.parts import exports

PARTS = {
    "Codec": "codec",
    "MusicData": "music.data",
    "MusicTransformer": "music.net",
    "SampleEmbedding": "net",
    "SpectrumCritic": "critic",
    "TokenData": "tokens",
    "WaveData": "data",
}
"""Their classes that a configuration names, with the modules that they are in."""

__getattr__ = exports(__name__, PARTS)
