"""`python -m genzoo_born.train key=value …` is `genzoo train born key=value …`."""

import sys

from genzoo.cli import main

if __name__ == "__main__":
    main(["train", "born", *sys.argv[1:]])
