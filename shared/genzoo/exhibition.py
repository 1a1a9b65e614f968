"""`genzoo gallery`: one page that shows what trained models make, and the command that makes each sample again.

The page stands for itself: pictures, sounds, films and clouds are in it, and it asks no other machine for anything.
"""

import contextlib
import itertools
import shlex
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genzoo import checkpoint, zoo
from genzoo.config import check_type, did_you_mean, plain
from genzoo.config.words import ESCAPED
from genzoo.contract import Piece, Request
from genzoo.errors import UserError, user_errors
from genzoo.model import Model, load
from genzoo.page.page import Group, Section, as_html, load_template, parts, version

if TYPE_CHECKING:
    from omegaconf import DictConfig

SHOW = {"title": str, "about": str, "samples": list[dict[str, Any]]}
"""Keys of a show in gallery.yaml."""

FIRST = "first"
"""Folder of what is sampled before, for another command to go on from."""


@dataclass(frozen=True)
class Show:
    """What is to be made of a model. name: as `genzoo sample` takes it. samples: options of `genzoo sample`, `caption`,
    and `first`: options of a command before it, whose files in the folder `FIRST` the others may name."""

    name: str
    weights: Path
    title: str
    about: str
    samples: list[dict[str, Any]]


def gallery_config(config: "DictConfig") -> Path:
    """Makes the page that gallery.yaml describes; returns the file."""
    settings = plain(config)
    asked, shows = asked_for(settings["out"]), chosen(settings)
    template = load_template()
    sections, begun = [], time.monotonic()
    for show in shows:
        start = time.monotonic()
        section = hang(show, seed=settings["seed"], device=settings["device"], trust=settings["trust"])
        count = len(section.portrait) + sum(len(group.exhibits) for group in section.groups)
        print(f"{show.name}: {count} exhibits, {time.monotonic() - start:.0f} s", flush=True)
        sections.append(section)
    page = template.render(sections=sections, version=version(), **parts(sections))
    out = hung(page, asked)
    print(f"{out} ({len(page.encode()) / 1e6:.1f} MB, {time.monotonic() - begun:.0f} s): open it in a browser")
    return out


def asked_for(out: str | None) -> Path:
    """Where the page goes; UserError where the user named a file that is there."""
    if out is None:
        return Path("gallery.html")
    if Path(out).expanduser().exists():
        raise UserError(f"out={out} is there already: choose another out=")
    path = Path(out).expanduser()
    return path if path.suffix else path.with_name(f"{path.name}.html")


def hung(page: str, asked: Path) -> Path:
    """Writes the page under the first name that is free, gallery.html, gallery_001.html …: no other process's page, nor
    an older one, is written over. Returns the file."""
    asked.parent.mkdir(parents=True, exist_ok=True)
    for i in itertools.count():
        out = asked.with_stem(f"{asked.stem}_{i:03d}") if i else asked
        try:
            with open(out, "x", encoding="utf-8") as opened:
                opened.write(page)
            return out
        except FileExistsError:
            continue
        except BaseException:
            out.unlink(missing_ok=True)
            raise
    raise AssertionError


def chosen(settings: Mapping[str, Any]) -> list[Show]:
    """The shows of the models that are asked for, and of the user's own checkpoints."""
    there, shows, models = zoo.shipped(), settings["shows"], settings["models"]
    if settings["n"] < 1:
        raise UserError(f"n must be at least 1, not {settings['n']}")
    for name in models or []:
        if name not in shows:
            raise UserError(
                f"models={name}: there is no such show{did_you_mean(name, [*shows])}; see shows in --cfg job"
            )
        if name not in there:
            raise UserError(f"models={name}: these weights are not here, but {', '.join(there) or 'none'}")
    if models is None:
        models = [] if settings["checkpoints"] else [name for name in shows if name in there]
    found = [show_of(name, shows[name], there[name]) for name in models]
    for path in settings["checkpoints"]:
        found.append(Show(path, checkpoint.resolve(path), path, "", [{"n": settings["n"]}]))
    if not found:
        raise UserError("there are no weights to show: train a model and name its run, checkpoints=[runs/text]")
    return found


def show_of(name: str, about: Mapping[str, Any], weights: Path) -> Show:
    """A node of `shows`, checked."""
    for key, value in about.items():
        if key not in SHOW:
            raise UserError(f"unknown key shows.{name}.{key}{did_you_mean(key, [*SHOW])}; there are: {', '.join(SHOW)}")
        check_type(value, SHOW[key], f"shows.{name}.{key}")
    return Show(name, weights, about.get("title", name), about.get("about", ""), about.get("samples", [{}]))


def hang(show: Show, *, seed: int, device: str, trust: Sequence[str]) -> Section:
    """Loads a model and samples what its show says."""
    model = load(show.weights, device=device, trust=trust)
    section = Section(show.name, show.title, show.about)
    for options in show.samples:
        caption, first, asked = options.get("caption", ""), options.get("first"), {"seed": seed, **options}
        asked = {key: value for key, value in asked.items() if key not in ("caption", "first")}
        lines = [command(show.name, asked)]
        with user_errors(f"{show.name}: "), contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            if first is not None:
                stack.enter_context(contextlib.chdir(folder))
                first = {"seed": seed, **first}
                lines.insert(0, command(show.name, first, out=FIRST))
                write(model, first, Path(FIRST))
            pieces, request = sampled(model, asked)
            exhibits = model.data.exhibits(pieces, Path(folder), request)
        section.groups.append(Group(caption, "\n".join(lines), exhibits))
    with tempfile.TemporaryDirectory() as folder:
        section.portrait = model.model.portrait(Path(folder))
    card = zoo.card(model.path.parent)
    section.card = as_html(card.text)
    section.facts = {key: str(card.about[key]) for key in ("score", "license") if key in card.about}
    section.facts |= {
        "parameters": f"{sum(p.numel() for p in model.model.parameters()):,}",
        "weights": f"{model.path.stat().st_size / 1e6:.1f} MB",
        "trained": f"{model.step:,} steps",
    }
    return section


def sampled(model: Model, asked: Mapping[str, Any]) -> tuple[list[Piece], Request]:
    """The samples of `genzoo sample` with these options: one piece, or several of a roll-out."""
    own = {"n": asked.get("n", 1), "rollout": asked.get("rollout", 1), "seed": asked["seed"]}
    for key, value in own.items():
        check_type(value, int, key)
        if value < (key != "seed"):
            raise UserError(f"{key} must be at least 1, not {value}")
    options = {key: value for key, value in asked.items() if key not in own}
    request = model.request(own["n"], **options)
    if model.goes_on or own["rollout"] > 1:  # which is refused where nothing goes on
        return [*model.rollout(request, own["rollout"], seed=own["seed"])], request
    return [(model.made(request, own["seed"]), request.cond)], request


def write(model: Model, asked: Mapping[str, Any], folder: Path) -> None:
    """The files of `genzoo sample`, for what comes after to read."""
    pieces, request = sampled(model, asked)
    folder.mkdir()
    if model.goes_on:
        model.data.write_rollout(iter(pieces), folder, request)
    else:
        model.data.write_all(pieces[0][0], folder, request)


def command(name: str, asked: Mapping[str, Any], *, out: str | None = None) -> str:
    """The words that make the same samples again, for a shell."""
    options = [(key, value) for key, value in asked.items() if key not in ("n", "rollout", "seed")]
    own = [(key, asked[key]) for key in ("n", "rollout") if asked.get(key, 1) != 1]
    told = [*options, *own, ("seed", asked["seed"]), *([("out", out)] if out else [])]
    words = [f"checkpoint={name}", *(f"{key}={written(value, escaped=key in ESCAPED)}" for key, value in told)]
    return " ".join(["genzoo sample", *map(shlex.quote, words)])


def written(value: Any, *, escaped: bool = False) -> str:
    """A value as the command line reads it; escaped: that of a key in which `\\n` and `\\t` mean what they say."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return f"[{','.join(written(item, escaped=escaped) for item in value)}]"
    marks = {"\\": "\\\\", "\n": "\\n", "\t": "\\t"} if escaped else {}
    return str(value).translate(str.maketrans(marks))
