"""`python -m genzoo_audio.train key=value …` is `genzoo train audio key=value …`."""

import sys

from genzoo.cli import main

if __name__ == "__main__":
    main(["train", "audio", *sys.argv[1:]])
