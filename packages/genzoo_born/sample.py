"""`python -m genzoo_born.sample key=value …` is `genzoo sample born key=value …`."""

import sys

from genzoo.cli import main

if __name__ == "__main__":
    main(["sample", "born", *sys.argv[1:]])
