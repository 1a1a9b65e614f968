"""Damages small valid inputs of every format that is read, and counts what reading them comes to.

`python tests/fuzz.py --mutations 10000 --seed 0` goes through all formats of `fuzz_formats` in two worker processes and
prints a table; the exit status is 1 where anything failed. `--only midi,gif` takes some formats, `--keep FOLDER` keeps
what failed, `--one midi 17` repeats one case in this process, with its traceback.

An input may be read ("accepted") or be a UserError of one line that names a file or a key ("refused"). Failures are any
other exception, numbers that are not finite, a changed byte of hashed files that is not noticed (all "traceback"), the
death of the process ("abort"), more than 20 s ("slow") and more than 2 GB above what the process had ("fat").

Time is that of the processor (or three times as much by the clock), and memory what the kernel says is resident: with
a limit of its address space torch would not start. The parent looks every 20 ms and ends a worker by SIGABRT, at which
faulthandler writes down where it was, even inside a library; the worker says its own highest mark after each case.
"""

import argparse
import collections
import contextlib
import faulthandler
import importlib
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from fuzz_mutations import Files, case

LIMIT_S, LIMIT_BYTES = 20.0, 2e9
CLOCK = 3.0
"""Times the limit of processor time, by the clock: for what waits, and for a machine with much else to do."""
GROUPS = "data|model|trainer|sampling|scoring|objective"
KEY = re.compile(rf"\b[a-z_]+(\.[a-z_]+)*=|\b({GROUPS})\b|\b(key|option) |^[a-z_]+ must ")
"""How a message names a key."""
STACK = re.compile("  |Current thread|Thread|Extension modules")
"""How the lines of a faulthandler's stack begin."""
FAILURES = ("invalid", "traceback", "abort", "slow", "fat")

# ---- one case


def seed_of(formats: Mapping[str, Any], name: str, folder: Path) -> Files:
    """The valid input of a format, made once; what is in the folder by then is another worker's, and as good."""
    if not (folder / name).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent))
        formats[name].make(made)
        with contextlib.suppress(OSError):
            made.rename(folder / name)
    return read_files(folder / name)


def read_files(folder: Path) -> Files:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def write_files(files: Mapping[str, bytes], folder: Path) -> Path:
    """Writes them to a fresh folder; what is to be read: the lone file, or the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    folder.mkdir(exist_ok=True, parents=True)
    return folder / next(iter(files)) if len(files) == 1 and "/" not in next(iter(files)) else folder


def judged(error: BaseException, files: Mapping[str, bytes], folder: Path) -> tuple[str, str]:
    """The kind of an exception, and what to say of it. The name that a UserError gives is of a file, or of a key."""
    from genzoo.errors import UserError

    text = f"{type(error).__name__}: {str(error)[:300]!r}"
    if isinstance(error, UserError):
        names = {part for name in files for part in Path(name).parts}
        if "\n" in str(error) or not str(error).strip():
            return "traceback", f"not one line: {text}"
        if any(name in str(error) for name in {*names, str(folder)}) or KEY.search(str(error)):
            return "refused", text
        return "traceback", f"names no file and no key: {text}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if re.search(r"/(packages|shared)/", f.filename)]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno} {frames[-1].name}" if frames else "no frame of ours"
    return "traceback", f"{text} ({where})"


def memory(key: str, pid: int | str = "self") -> int:
    """VmRSS (resident) or VmHWM (its highest mark) of a process, in bytes; 0 where nothing says so."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return 0


def processor_s(pid: int | str) -> float:
    """Seconds of the processor that a process has used; 0 where nothing says so."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def attempt(form: Any, files: Files, name: str, folder: Path) -> tuple[str, str]:
    """Reads what the files hold: (kind, words)."""
    path = write_files(files, folder)
    try:
        form.read(path)
    except BaseException as error:
        return judged(error, files, folder)
    if name in form.sealed:
        return "traceback", f"a changed {name} was read"
    return "accepted", ""


def worker(source: str, seeds: Path, place: Path, pipe: Any) -> None:
    """Answers (format, number, seed) with (kind, words, seconds, bytes above the start) until it gets None."""
    log = open(place / "log", "w+", buffering=1)  # noqa: SIM115
    os.dup2(log.fileno(), 1), os.dup2(log.fileno(), 2)
    faulthandler.enable(log)
    os.environ.update(GENZOO_CACHE=str(place / "cache"), OMP_NUM_THREADS="1")
    os.chdir(place)
    formats, known = importlib.import_module(source).FORMATS, {}
    while (job := pipe.recv()) is not None:
        name, i, seed = job
        os.ftruncate(log.fileno(), 0)
        if name not in known:
            known[name] = seed_of(formats, name, seeds)
            kind, words = attempt(formats[name], known[name], "", place / "in")
            if kind != "accepted":
                pipe.send(("invalid", words, 0.0, 0))
                continue
        files, which = case(known[name], random.Random(f"{seed}/{name}/{i}"))
        shutil.rmtree(place / "cache", ignore_errors=True)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins again
        before = memory("VmRSS")
        pipe.send(before)
        start = time.process_time()
        kind, words = attempt(formats[name], files, which, place / "in")
        seconds = time.process_time() - start
        pipe.send((kind, words, seconds, max(0, memory("VmHWM") - before)))


# ---- all cases


@dataclass
class Worker:
    """A process, and what it is at."""

    process: Any
    pipe: Any
    place: Path
    job: tuple[str, int, int]
    since: float = 0.0
    start_s: float = 0.0
    start_bytes: int | None = None
    killed: str = ""


@dataclass
class Counts:
    """Of one format."""

    kinds: collections.Counter = field(default_factory=collections.Counter)
    seconds: float = 0.0
    slowest: float = 0.0
    most_bytes: int = 0


@dataclass
class Failure:
    format: str
    number: int
    seed: int
    kind: str
    words: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.format} {self.number} (seed {self.seed}): {self.words}"


class Runner:
    """Runs cases in worker processes. source: the name of a module with FORMATS, {name: an object with make(folder),
    read(path) and sealed}; names: of the formats."""

    def __init__(
        self, source: str, names: Sequence[str], *, limit_s: float = LIMIT_S, limit_bytes: float = LIMIT_BYTES
    ) -> None:
        self.source, self.names, self.limit_s, self.limit_bytes = source, list(names), limit_s, limit_bytes
        self.counts = {name: Counts() for name in self.names}
        self.failures: list[Failure] = []

    def run(
        self,
        mutations: int,
        seed: int,
        scratch: Path,
        jobs: int = 2,
        told: Callable[[Failure], None] = lambda failure: print(failure, flush=True),
    ) -> None:
        """So many mutations, shared by all formats, in the folder `scratch`; told is called with each failure."""
        scratch.mkdir(parents=True, exist_ok=True)
        share = -(-mutations // len(self.names))
        work = iter([(name, i, seed) for name in self.names for i in range(share)])
        busy = [w for _ in range(jobs) if (w := self._next(None, work, scratch))]
        try:
            while busy:
                wait([w.pipe for w in busy], timeout=0.02)
                busy = [after for w in busy if (after := self._look(w, work, scratch, told))]
        finally:
            for w in busy:
                w.process.kill()

    def _next(self, old: Worker | None, work: Iterator[tuple[str, int, int]], scratch: Path) -> Worker | None:
        """Gives the next case to a worker, a new one where there is none; None where nothing is left to do."""
        job = next(work, None)
        if old is None and job is not None:
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            place = Path(tempfile.mkdtemp(dir=scratch))
            told = (self.source, scratch / "seeds", place, theirs)
            process = context.Process(target=worker, args=told, daemon=True)
            process.start()
            theirs.close()
            old = Worker(process, ours, place, job)
        if old is not None:
            old.pipe.send(job)
            if job is None:
                old.process.join()
                return None
            old.job, old.since, old.start_bytes = job, time.monotonic(), None
        return old

    def _look(self, w: Worker, work: Iterator[tuple[str, int, int]], scratch: Path, told: Callable) -> Worker | None:
        """What a worker has to say, or whether it must go; the worker that goes on in its place."""
        try:
            answer = w.pipe.recv() if w.pipe.poll() else None
        except (EOFError, ConnectionError):
            w.process.join()
            self._note(w, *self._epitaph(w), told)
            shutil.rmtree(w.place, ignore_errors=True)
            return self._next(None, work, scratch)
        if isinstance(answer, int):
            w.start_bytes, w.since, w.start_s = answer, time.monotonic(), processor_s(w.process.pid)
        elif answer is not None:
            if answer[0] in ("accepted", "refused") and answer[3] > self.limit_bytes:
                answer = ("fat", f"{answer[3] / 1e9:.1f} GB", *answer[2:])
            self._note(w, *answer, told)
            return self._next(w, work, scratch)
        elif w.start_bytes is not None and not w.killed:
            if memory("VmRSS", w.process.pid) - w.start_bytes > self.limit_bytes:
                w.killed = "fat"
            elif max(processor_s(w.process.pid) - w.start_s, (time.monotonic() - w.since) / CLOCK) > self.limit_s:
                w.killed = "slow"
            if w.killed:
                os.kill(w.process.pid, signal.SIGABRT)
        return w

    def _epitaph(self, w: Worker) -> tuple[str, str, float, int]:
        log = (w.place / "log").read_text(errors="replace")
        ours = re.search(r'File "[^"]*/((?:packages|shared)/[^"]*)", line (\d+) in (\w+)', log)
        where = f" ({ours[1]}:{ours[2]} {ours[3]})" if ours else ""
        if w.killed:
            return w.killed, f"ended{where}", time.monotonic() - w.since, 0
        said = [line for line in log.splitlines() if line.strip() and not STACK.match(line)][-2:]
        words = f"exit code {w.process.exitcode}{where}: {'; '.join(said)[:200]}"
        return "abort", words, time.monotonic() - w.since, 0

    def _note(self, w: Worker, kind: str, words: str, seconds: float, size: int, told: Callable) -> None:
        counts = self.counts[w.job[0]]
        counts.kinds[kind] += 1
        counts.seconds += seconds
        counts.slowest, counts.most_bytes = max(counts.slowest, seconds), max(counts.most_bytes, size)
        if kind in FAILURES:
            self.failures.append(Failure(*w.job, kind, words))
            told(self.failures[-1])

    def table(self) -> str:
        kinds = ("accepted", "refused", *FAILURES)
        heads = "".join(f"{kind:>10}" for kind in kinds)
        lines = [f"{'format':14}{heads}{'s a case':>10}{'most s':>8}{'most MB':>9}"]
        for name, c in self.counts.items():
            row = "".join(f"{c.kinds[kind]:10}" for kind in kinds)
            mean = c.seconds / max(1, c.kinds.total())
            lines.append(f"{name:14}{row}{mean:10.3f}{c.slowest:8.2f}{c.most_bytes / 1e6:9.0f}")
        total = [sum(c.kinds[kind] for c in self.counts.values()) for kind in kinds]
        return "\n".join([*lines, f"{'all':14}" + "".join(f"{n:10}" for n in total)])


def fast() -> str | None:
    """Memory in place of a disk, where there is some: checkpoints wait until they are written."""
    return "/dev/shm" if os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > 1e9 else None


def one(source: str, name: str, number: int, seed: int, keep: Path | None = None, quiet: bool = False) -> None:
    """Repeats a case in this process, or only writes its files."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        formats = importlib.import_module(source).FORMATS
        os.environ["GENZOO_CACHE"] = str(Path(scratch, "cache"))
        files, which = case(seed_of(formats, name, Path(scratch, "seeds")), random.Random(f"{seed}/{name}/{number}"))
        path = write_files(files, (keep or Path(scratch)) / f"{name}-{number}")
        print(f"{path}: changed {which or 'names'}")
        if not quiet:
            formats[name].read(path)
            print("accepted")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="names of formats, by commas")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a folder for inputs that fail")
    parser.add_argument("--one", nargs=2, metavar=("FORMAT", "INDEX"), help="repeat one case here")
    words = parser.parse_args()
    if words.one:
        one("fuzz_formats", words.one[0], int(words.one[1]), words.seed, words.keep)
        return 0
    known = importlib.import_module("fuzz_formats").FORMATS
    names = words.only.split(",") if words.only else list(known)
    if unknown := set(names) - set(known):
        parser.error(f"no format {', '.join(unknown)}; there are: {', '.join(known)}")
    runner = Runner("fuzz_formats", names)
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=fast()) as scratch:
        runner.run(words.mutations, words.seed, Path(scratch), words.jobs)
    for failure in runner.failures if words.keep else ():
        one("fuzz_formats", failure.format, failure.number, failure.seed, words.keep, quiet=True)
    print(runner.table())
    return 1 if runner.failures else 0


if __name__ == "__main__":
    sys.exit(main())
