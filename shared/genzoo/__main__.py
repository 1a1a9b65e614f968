"""`python -m genzoo VERB …` is `genzoo VERB …`."""

from genzoo.cli import main

if __name__ == "__main__":
    main()
