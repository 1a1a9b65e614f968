"""What is called what: labels and splits by the names of folders and files, or by a table."""

import csv
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from genzoo.errors import UserError
from genzoo.reading import judge, reading
from genzoo.sources.listing import Listing, Parts, listing
from genzoo.sources.splits import SPLITS, official, splits_first

LIST_MB = 50
"""Of a table of labels, at most."""

FILE_COLUMNS = ("file", "filename", "file_name", "path", "name")
"""What the column of files may be called, in any case."""


@dataclass(frozen=True)
class Source:
    """A file that examples are made of, or several that belong together. name: its path below `data.path`. label: ""
    where there is none, "7_george" where there are two fields. split: where folders or lists say. broken: why it is of
    no use."""

    files: tuple[Path, ...]
    name: str
    label: str = ""
    split: str | None = None
    broken: str = ""


@dataclass(frozen=True)
class Sources:
    """fields: what labels say: ("digit", "speaker"), ("label",) of folders, () of none. listing: of `data.path`.
    notes: what the report must say of labels."""

    found: list[Source]
    fields: tuple[str, ...]
    listing: Listing
    notes: tuple[str, ...] = ()


Group = Callable[[Listing], list[tuple[Parts, tuple[Path, ...]]]]
"""What belongs together, with a place of its own below `data.path`."""


def gather(
    path: str,
    endings: Collection[str],
    *,
    known: str = "",
    labels: str | None = None,
    val_path: str | None = None,
    group: Group | None = None,
) -> Sources:
    """What lies in `data.path`, in order, with its labels and splits.

    labels: None or "folders": the first folders, where there are any (the second, where the first are splits); "none";
        a CSV file with a column `file` and one or more of labels; or a template of the files' names without their
        endings, as "{digit}_{speaker}_{}": a field in braces for each label, and {} for what is none.
    val_path: another file or folder, which is val, and all of `data.path` train. group: by default each file is one.
    """
    first = listing(path, endings, known=known)
    found = by_folders(first, group)
    where = [first.place]
    if val_path:
        second = listing(val_path, endings, key="data.val_path")
        val = by_folders(second, group)
        clash = {source.name for source in found} & {source.name for source in val}
        named = (second.place.name + "/" if clash and not labels else "") if not second.lone else ""
        found = [replace(source, split="train") for source in found]
        found += [replace(source, split="val", name=named + source.name) for source in val]
        where.append(second.place)
    else:
        found = official(found)
    labelled, fields, notes = with_labels(found, labels, where)
    return Sources(labelled, fields, first, notes)


def by_folders(of: Listing, group: Group | None = None) -> list[Source]:
    """With the label and the split that folders say: `chair/a.off`, `train/chair/a.off`, `chair/train/a.off`."""
    items = group(of) if group else [(parts, (of.file(parts),)) for parts in of.files]
    split_first = splits_first([parts for parts, _ in items])
    found = []
    for parts, files in items:
        first, second = [*parts[:-1], "", ""][:2]
        label, split = (second, first) if split_first else (first, second)
        found.append(Source(files, "/".join(parts), label, SPLITS.get(split.lower())))
    return found


def with_labels(
    found: Sequence[Source], labels: str | None, where: Sequence[Path]
) -> tuple[list[Source], tuple[str, ...], tuple[str, ...]]:
    """Sources with their labels, the names of the fields, and notes. What has no label, and should, is broken."""
    if labels == "none":
        return [replace(source, label="") for source in found], (), ()
    if labels in (None, "folders"):
        if not any(source.label for source in found):
            return list(found), (), ()
        bare = "lies in no folder, and others do, which is a label: put it in one, or set data.labels=none"
        kept = [source if source.label else replace(source, broken=bare) for source in found]
        alone = len(found) > 1 and len({source.label for source in found}) == len(found)
        note = "each folder holds one, and counts as a label: data.labels=none takes them without"
        return kept, ("label",), (note,) if alone else ()
    if "{" in str(labels):
        pattern, fields = template(str(labels))
        matches = [pattern.fullmatch(Path(source.name).stem) for source in found]
        told = {source.name: match.groups() for source, match in zip(found, matches, strict=True) if match}
        return [with_label(source, told, f"does not match data.labels={labels}") for source in found], fields, ()
    told, fields = table(str(labels), where)
    absent = sorted(told.keys() - {source.name for source in found})
    if len(absent) == len(told):
        raise UserError(f"data.labels={labels}: no file in it is in data.path; name them relative to that folder")
    note = f"{len(absent)} files of {labels} are not there, the first: {absent[0]}" if absent else ""
    why = f"is not in data.labels={labels}"
    return [with_label(source, told, why) for source in found], fields, (note,) if note else ()


def with_label(source: Source, told: Mapping[str, tuple[str, ...]], why: str) -> Source:
    values = told.get(source.name, ())
    return replace(source, label="_".join(values)) if values and all(values) else replace(source, broken=why)


def template(labels: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """A pattern whose groups are the fields of "{digit}_{speaker}_{}", as short as can be, and their names."""
    pieces = re.split(r"\{(\w*)\}", labels)
    fields = tuple(field for field in pieces[1::2] if field)
    if not fields or len(set(fields)) < len(fields) or any(set("{}") & set(text) for text in pieces[::2]):
        raise UserError(f"data.labels={labels} needs fields in braces, each name once, as {{digit}}_{{speaker}}_{{}}")
    pattern = "".join(
        re.escape(piece) if i % 2 == 0 else "(.+?)" if piece else "(?:.*?)" for i, piece in enumerate(pieces)
    )
    return re.compile(pattern), fields


def table(labels: str, where: Sequence[Path]) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """The labels of each file of a CSV file (commas, semicolons or tabs), found as it is named or in the folders, and
    the names of the fields."""
    places = [place for place in (Path(labels).expanduser(), *(at / labels for at in where)) if place.is_file()]
    if not places:
        raise UserError(
            f"data.labels={labels}: there is no such CSV file; it may also be folders, none, or a template with fields "
            "in braces"
        )
    with reading(places[0], "data.labels") as place:
        judge(place.stat().st_size, LIST_MB, "the most")
        with open(place, newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=head.count)
            rows = csv.DictReader(file, restval="", delimiter=delimiter)
            columns = [(name or "").strip() for name in rows.fieldnames or ()]
            rows.fieldnames = columns
            which = next((c for known in FILE_COLUMNS for c in columns if c.lower() == known), None)
            fields = tuple(name for name in columns if name and name != which)
            if which is None or not fields:
                raise UserError(
                    f"data.labels={labels}: the first line names the columns: file, and one or more labels (it is: "
                    f"{', '.join(columns)[:100]})"
                )
            told: dict[str, tuple[str, ...]] = {}
            for row in rows:
                name = row[which].strip().replace("\\", "/").removeprefix("./")
                values = tuple((row[field] or "").strip() for field in fields)
                if told.setdefault(name, values) != values:
                    raise UserError(f"data.labels={labels}: {name} is there twice, with other labels: keep one line")
    return told, fields
