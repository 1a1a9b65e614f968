"""`python -m genzoo_points.sample key=value …` is `genzoo sample points key=value …`."""

import sys

from genzoo.cli import main

if __name__ == "__main__":
    main(["sample", "points", *sys.argv[1:]])
