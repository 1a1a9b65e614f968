"""`python -m genzoo_points.train key=value …` is `genzoo train points key=value …`."""

import sys

from genzoo.cli import main

if __name__ == "__main__":
    main(["train", "points", *sys.argv[1:]])
