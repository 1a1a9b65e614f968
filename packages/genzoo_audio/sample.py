"""`python -m genzoo_audio.sample key=value …` is `genzoo sample audio key=value …`."""

import sys

from genzoo.cli import main

if __name__ == "__main__":
    main(["sample", "audio", *sys.argv[1:]])
