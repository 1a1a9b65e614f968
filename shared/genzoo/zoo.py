"""Weights that are at hand: those that come with the packages, those on the Hugging Face hub, and their cards.

packages/genzoo_text/weights/text/
    model.safetensors   the lone file loads
    README.md           the card: what it learned from, the command, the scores, the flaws
    config.json         configuration, spec and size, to read
"""

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from genzoo.config.build import modalities
from genzoo.download import allowed
from genzoo.errors import UserError
from genzoo.reading import Broken, judge, judged_yaml, reading, reason

HUB = "hf://"
"""How an address on the hub begins: hf://USER/REPOSITORY, hf://USER/REPOSITORY@REVISION, further /FOLDER in it."""


@dataclass(frozen=True)
class Card:
    """A README.md beside weights. about: its front matter (score, license, tags …); text: the Markdown below."""

    about: dict[str, Any]
    text: str


@cache
def shipped() -> dict[str, Path]:
    """The folders of the weights that come with the installed packages, by name. Imports none of these."""
    found = {}
    for package in modalities():
        spec = importlib.util.find_spec(package)
        for place in spec.submodule_search_locations or () if spec else ():
            found |= {file.parent.name: file.parent for file in Path(place, "weights").glob("*/model.safetensors")}
    return dict(sorted(found.items()))


def card(folder: Path) -> Card:
    """The card of the weights in a folder, an empty one where there is none."""
    file = folder / "README.md"
    if not file.is_file():
        return Card({}, "")
    with reading(file, "card"):
        judge(file.stat().st_size, 1, "the most for a card")
        text = file.read_text(encoding="utf-8")
        _, bar, rest = text.partition("---\n")
        head, end, body = rest.partition("\n---\n")
        if not text.startswith("---\n") or not bar or not end:
            return Card({}, text)
        about = judged_yaml(head) or {}
        if not isinstance(about, dict):
            raise Broken("has no keys between its lines ---")
        return Card(about, body.lstrip())


def from_hub(address: str) -> Path:
    """The model.safetensors at hf://USER/REPOSITORY[@REVISION][/FOLDER], from the hub's cache or fetched into it."""
    user, _, rest = address.removeprefix(HUB).partition("/")
    name, _, folder = rest.partition("/")
    name, _, revision = name.partition("@")
    if not user or not name or ".." in folder.split("/"):
        raise UserError(f"{address}: give {HUB}USER/REPOSITORY, and behind it @REVISION or /FOLDER if need be")
    allowed(address)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = hf_hub_download(
            f"{user}/{name}", "model.safetensors", subfolder=folder.strip("/") or None, revision=revision or None
        )
    except LocalEntryNotFoundError as error:
        raise UserError(f"{address} is not in the cache, and the hub cannot be reached: try again online") from error
    except Exception as error:  # of the hub, of the network, of a name that is none
        raise UserError(f"{address} cannot be had: {reason(error)}") from error
    return Path(found)
