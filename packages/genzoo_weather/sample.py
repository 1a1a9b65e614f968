"""`python -m genzoo_weather.sample key=value …` is `genzoo sample weather key=value …`."""

import sys

from genzoo.cli import main

if __name__ == "__main__":
    main(["sample", "weather", *sys.argv[1:]])
