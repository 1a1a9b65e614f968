"""`python -m genzoo_video.train key=value …` is `genzoo train video key=value …`."""

import sys

from genzoo.cli import main

if __name__ == "__main__":
    main(["train", "video", *sys.argv[1:]])
