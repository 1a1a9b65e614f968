"""`python -m genzoo_video.sample key=value …` is `genzoo sample video key=value …`."""

import sys

from genzoo.cli import main

if __name__ == "__main__":
    main(["sample", "video", *sys.argv[1:]])
