"""`python -m genzoo_text.sample key=value …` is `genzoo sample text key=value …`."""

import sys

from genzoo.cli import main

if __name__ == "__main__":
    main(["sample", "text", *sys.argv[1:]])
