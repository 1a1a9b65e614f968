"""Audio and music: waveforms as tokens, a learned codec, chorales, and the transformers over them."""
