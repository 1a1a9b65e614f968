"""How any data is read: find, label, split, account for every file, and key what is kept by content.

gather(path, endings) -> Sources        which files, with labels and splits, and what was passed over
Faults(path, on_error)                   around the reading of each, and every check
splits_of, rows_of, choosing, in_order   train, val, test
content_key(..., files=...)              the name of what is kept of files
Report                                   what is said before the first step
"""

from genzoo.sources.keys import content_key, hashes, state_of
from genzoo.sources.labels import Source, Sources, gather
from genzoo.sources.listing import Listing, counted, listing, walked
from genzoo.sources.report import Faults, OnError, Report, number, of_classes, of_splits
from genzoo.sources.splits import SPLITS, check_share, choosing, in_order, official, rows_of, splits_first, splits_of

__all__ = [
    "SPLITS",
    "Faults",
    "Listing",
    "OnError",
    "Report",
    "Source",
    "Sources",
    "check_share",
    "choosing",
    "content_key",
    "counted",
    "gather",
    "hashes",
    "in_order",
    "listing",
    "number",
    "of_classes",
    "of_splits",
    "official",
    "rows_of",
    "splits_first",
    "splits_of",
    "state_of",
    "walked",
]
