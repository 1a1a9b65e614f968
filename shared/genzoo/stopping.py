"""Requests to stop (Ctrl-C, SIGTERM), on which several processes agree."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import distributed


@contextmanager
def stop_requests(several: bool) -> Iterator[Callable[[], bool]]:
    """While open, the first Ctrl-C or SIGTERM only sets a flag, so that the step is finished and saved; a second one
    stops at once.

    Several processes must each ask equally often, and all get the same answer: yes, as soon as one was told to stop.
    There a second signal within a minute means the first (torchrun passes on what the terminal sent already, and stops
    the others when one ends), and after a stop signals are ignored until the process ends.
    """
    asked: list[float] = []
    patience_s = 60.0 if several else 0.0
    group = distributed.new_group(backend="gloo") if several else None  # of CPUs: asking does not wait for a GPU

    def note(number: int, frame: object) -> None:
        if asked and time.monotonic() - asked[0] >= patience_s:
            raise KeyboardInterrupt
        asked.append(time.monotonic())

    def agreed() -> bool:
        if not several:
            return bool(asked)
        flag = torch.tensor(len(asked))
        distributed.all_reduce(flag, group=group)
        if flag:
            asked.append(time.monotonic())
        return bool(flag)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are somebody else's
        before = {}
    try:
        yield agreed
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if several and asked else handler)
        if group:
            distributed.destroy_process_group(group)
