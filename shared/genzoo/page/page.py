"""The page: sections of groups of exhibits, put into the template.

It stands for itself: pictures, sounds, films and clouds are in it, and it asks no other machine for anything.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genzoo.errors import UserError
from genzoo.page.items import Cloud, Exhibit, encoded

TEMPLATE = Path(__file__).resolve().parent / "template"
"""The page without what is shown, its style and its script."""


@dataclass
class Group:
    """Exhibits that one command makes."""

    caption: str
    command: str
    exhibits: list[Exhibit]

    @property
    def columns(self) -> int:
        """How many of a page's four it fills, if one row is enough."""
        return sum(exhibit.columns for exhibit in self.exhibits)

    @property
    def across(self) -> int:
        """How many exhibits stand side by side, so that rows are full."""
        if self.columns < 3:
            return 2
        small = all(exhibit.columns == 1 for exhibit in self.exhibits)
        return next((n for n in (4, 5, 3) if self.columns % n == 0), 4) if small else 4


@dataclass
class Section:
    """A model on the page. card: HTML; facts: name and value."""

    name: str
    title: str
    about: str
    groups: list[Group] = field(default_factory=list)
    portrait: list[Exhibit] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    card: str = ""

    @property
    def anchor(self) -> str:
        """Its place on the page."""
        return "model-" + "".join(c if c.isalnum() else "-" for c in self.name)


def in_a_frame(exhibits: Sequence[Exhibit]) -> str:
    """A page of its own for a notebook: what is in it meets nothing outside."""
    section = Section("samples", f"{len(exhibits)} exhibits", "", [Group("", "", [*exhibits])])
    page = load_template().render(sections=[section], version=version(), **parts([section]))
    return f'<iframe srcdoc="{html.escape(page)}" sandbox="allow-scripts" width="100%" height="600"></iframe>'


def parts(sections: Sequence[Section]) -> dict[str, str]:
    """Style and scripts; three.js only where there is something to turn."""
    shown = [exhibit for section in sections for group in section.groups for exhibit in group.exhibits]
    clouds = any(isinstance(exhibit, Cloud) for exhibit in shown)
    style, script = ((TEMPLATE / name).read_text(encoding="utf-8") for name in ("gallery.css", "gallery.js"))
    return {"style": style, "script": script, "three": three() if clouds else ""}


def three() -> str:
    """The library three.js, as trimesh brings it in its viewer."""
    import zipfile

    mend = "trimesh does not bring three.js, which clouds on a page need: pip install 'genzoo[gallery]'"
    try:
        import trimesh

        with zipfile.ZipFile(Path(trimesh.__file__).parent / "resources" / "templates" / "viewer.zip") as opened:
            viewer = opened.read("viewer.html.template").decode()
    except (ModuleNotFoundError, OSError, KeyError) as error:
        raise UserError(mend) from error
    _, begins, rest = viewer.partition("<script>")
    library = next((line for line in rest.splitlines() if "THREE={}" in line and len(line) > 100_000), None)
    if not begins or library is None:
        raise UserError(mend)
    return f"/* three.js, Copyright Three.js Authors, MIT licence */\n{library}"


def as_html(markdown: str) -> str:
    """Markdown as HTML without links and pictures: nothing in it is run or fetched."""
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "link", "autolink"])
    return reader.render(markdown)


def load_template() -> Any:
    """The page, into which all text goes escaped."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ModuleNotFoundError as error:
        raise UserError("jinja2 is not installed, and pages need it: pip install 'genzoo[gallery]'") from error
    house = Environment(
        loader=FileSystemLoader(TEMPLATE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    house.filters["encoded"] = encoded
    return house.get_template("gallery.html")


def version() -> str:
    from genzoo import __version__

    return __version__
