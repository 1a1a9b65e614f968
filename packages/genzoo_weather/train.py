"""`python -m genzoo_weather.train key=value …` is `genzoo train weather key=value …`."""

import sys

from genzoo.cli import main

if __name__ == "__main__":
    main(["train", "weather", *sys.argv[1:]])
