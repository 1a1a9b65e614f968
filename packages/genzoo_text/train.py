"""`python -m genzoo_text.train key=value …` is `genzoo train text key=value …`."""

import sys

from genzoo.cli import main

if __name__ == "__main__":
    main(["train", "text", *sys.argv[1:]])
