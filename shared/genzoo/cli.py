"""The command line: `genzoo VERB PRESET key=value …`."""

import argparse
import inspect
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

HELP = """genzoo: train and sample small generative models of your own data

  genzoo train    PRESET key=value …        learn; the run goes to runs/PRESET (out=…)
  genzoo sample   PRESET key=value …        make examples with a trained model (checkpoint=…)
  genzoo evaluate PRESET key=value …        score a trained model (checkpoint=…)
  genzoo gallery  MODEL key=value …         what trained models make, on one page for a browser
  genzoo check    PRESET key=value …        does a modality of your own keep the contract?
  genzoo list                               all presets, and the weights that come with genzoo
  genzoo export   PRESET --to FOLDER        weights, configuration and card, as the Hugging Face hub has them
  genzoo demo                               a minute of training on text, then a page of samples of every kind

  PRESET              of sample, evaluate and export: the path of a run, too
  --help              this text; after a verb, what that verb takes
  --cfg job           print the composed configuration and stop
  -m                  run every combination of key=a,b
  --config-dir DIR    look for your own presets in DIR/preset/*.yaml too

Start with: genzoo train text
"""

VERBS = ("train", "sample", "evaluate", "gallery", "check", "list", "export", "demo")
OPTIONS: dict[str, dict[str, Any]] = {
    "--cfg": {"choices": ("job", "all", "hydra")},
    "-m/--multirun": {"action": "store_true"},
    "--config-dir": {"metavar": "folder"},
    "--to": {"metavar": "folder"},
    "--dtype": {"metavar": "number format", "default": "float32"},
}
"""What argparse is told of each option."""


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point. Exits with status 2 and one line on standard error for what the user can mend."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows a question mark
    if not words or words[0] in ("-h", "--help"):
        print(HELP, end="")
        return
    if words[0] == "--version":
        from genzoo import __version__

        print(__version__)
        return
    from genzoo.errors import UserError

    try:
        dispatch(words)
    except UserError as error:
        if os.environ.get("GENZOO_DEBUG"):
            raise
        fail(str(error))
    except KeyboardInterrupt as interrupt:
        if interrupt.args and os.environ.get("RANK", "0") == "0":  # of several processes, one says it
            print(f"stopped at step {interrupt.args[0]} and saved; go on with resume=true", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if os.environ.get("GENZOO_DEBUG"):
            raise
        fail(str(error))


def fail(message: str) -> None:
    from genzoo.reading import printable

    print(f"genzoo: {printable(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(2)


class Words(argparse.ArgumentParser):
    """The options of a verb; the words beside them are left over."""

    def __init__(self, verb: str, *names: str) -> None:
        super().__init__(verb, add_help=False, allow_abbrev=False)
        self.add_argument("-h", "--help", action="store_true")
        for name in names:
            self.add_argument(*name.split("/"), **OPTIONS[name])

    def error(self, message: str) -> NoReturn:
        from genzoo.errors import UserError

        lacks = re.match(r"argument (\S+): expected one argument", message)
        kind = lacks and self._option_string_actions[lacks[1]].metavar
        raise UserError(f"{lacks[1]} needs a {kind}" if lacks else f"{message}; see genzoo {self.prog} --help")

    def read(self, words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """The options, and the words that are none. `--cfg` alone is `--cfg job`."""
        kinds = OPTIONS["--cfg"]["choices"]
        pairs = zip(words, [*words[1:], ""], strict=False)
        given, rest = self.parse_known_args([f"{w}=job" if w == "--cfg" and n not in kinds else w for w, n in pairs])
        for word in rest:
            if word.startswith("-") and not given.help:
                self.error(f"unknown option {word}")
        folder = getattr(given, "config_dir", None)
        if folder is not None and not Path(folder).is_dir():
            self.error(f"--config-dir {folder}: there is no such folder")
        return given, rest


def dispatch(words: Sequence[str]) -> None:
    """Parses the words and runs the verb."""
    from genzoo.errors import UserError

    verb = words[0]
    if verb not in VERBS:
        from genzoo.config import did_you_mean

        raise UserError(f"there is no verb {verb!r}{did_you_mean(verb, VERBS)}; there are: {', '.join(VERBS)}")
    if verb in PLAIN:
        run, takes, *names = PLAIN[verb]
        given, rest = Words(verb, *names).read(words[1:])
        if given.help:
            return print(f"genzoo {verb}{takes}\n\n{inspect.cleandoc(run.__doc__)}")
        return run(rest, given)
    given, rest = Words(verb, "--cfg", "-m/--multirun", "--config-dir").read(words[1:])
    overrides = with_preset(verb, rest, help=given.help)
    if given.help:
        return verb_help(verb, overrides)
    runners = {"train": run_train, "sample": run_sample, "evaluate": run_evaluate, "gallery": run_gallery}
    runner = {**runners, "check": run_check}[verb]
    if not given.multirun:
        return runner(overrides, given.config_dir, bool(given.cfg))
    from genzoo.config import sweep

    combinations = sweep(overrides)
    for i, combination in enumerate(combinations):
        if verb == "train" and not any(o.startswith("out=") for o in combination):
            combination = [*combination, f"out=multirun/{i:03d}"]
        print(f"[{i + 1}/{len(combinations)}] {' '.join(combination)}")
        runner(combination, given.config_dir, bool(given.cfg))


def with_preset(verb: str, words: Sequence[str], *, help: bool) -> list[str]:
    """The overrides, and as one of them what stands before them: a preset, a model, or a run's path, which may hold a
    =. help: whether only the help is wanted, which needs neither."""
    from genzoo.errors import UserError

    first, overrides = None, list(words)
    path = verb in ("sample", "evaluate") and words and (os.path.exists(words[0]) or "/" in words[0].partition("=")[0])
    if words and (path or "=" not in words[0]):
        first = overrides.pop(0)
    for word in overrides:
        if "=" not in word:
            raise UserError(
                f"{word!r} is no key=value; the preset's name comes first: genzoo {verb} PRESET key=value …"
            )
    if verb in ("sample", "evaluate"):
        named = any(o.startswith("checkpoint=") for o in overrides) or (help and first is None)
        return overrides if named else [*overrides, f"checkpoint={at_hand(first or 'text')}"]
    if not first:
        return overrides
    return [f"models=[{first}]" if verb == "gallery" else f"preset={first}", *overrides]


def at_hand(preset: str) -> str:
    """The checkpoint that a word stands for: a path, or a preset's name: its run here, else the weights of this name
    that come with genzoo."""
    from genzoo.zoo import shipped

    run = f"runs/{preset}"
    if Path(run).exists():
        return run
    if preset in shipped():
        print(f"(weights that come with genzoo; genzoo train {preset} makes your own)", file=sys.stderr)
        return preset
    return preset if "/" in preset or Path(preset).exists() else run


def run_train(overrides: list[str], config_dir: str | None, show: bool) -> None:
    from genzoo.config import compose_config

    config = compose_config("train", overrides, config_dir=config_dir)
    if show:
        return print_config(config)
    from genzoo.verbs.train import train_config

    out = train_config(config, overrides, config_dir=config_dir)
    print(f"now: genzoo sample checkpoint={out}")


def run_check(overrides: list[str], config_dir: str | None, show: bool) -> None:
    from genzoo.config import compose_config
    from genzoo.verbs.check import check

    if show:
        return print_config(compose_config("train", overrides, config_dir=config_dir))
    check(overrides, config_dir)


def run_sample(overrides: list[str], config_dir: str | None, show: bool) -> None:
    from genzoo.sample import sample_config, sampling_config

    config = sampling_config(overrides, config_dir=config_dir)
    if show:
        return print_config(config)
    sample_config(config)


def run_evaluate(overrides: list[str], config_dir: str | None, show: bool) -> None:
    from genzoo.evaluation import evaluate_config, evaluation_config

    config = evaluation_config(overrides, config_dir=config_dir)
    if show:
        return print_config(config)
    from genzoo.config import flat

    report = evaluate_config(config, overrides)
    looks = report.get("frontier", [])
    rows = [(key, value) for key, value in flat(report) if not key.startswith("protocol.") and value is not looks]
    width = max(len(key) for key, _ in rows)
    for key, value in rows:
        if isinstance(value, float):
            value = f"{value:.4f}" if abs(value) >= 0.01 or not value else f"{value:.4g}"
        print(f"{key:{width}}  {value}")
    if looks:
        print("\nwhat the reward cost (frontier.png):")
        print("  ".join(f"{name:>14}" for name in looks[0]))
        for row in looks:
            print("  ".join(f"{row.get(name, float('nan')):14.5g}" for name in looks[0]))
    protocol = report["protocol"]
    print(f"(step {protocol['step']}, split {protocol['split']}, n {protocol['n']}, seed {protocol['seed']})")


def run_gallery(overrides: list[str], config_dir: str | None, show: bool) -> None:
    from genzoo.config import compose_config

    config = compose_config("gallery", overrides, config_dir=config_dir)
    if show:
        return print_config(config)
    from genzoo.exhibition import gallery_config

    gallery_config(config)


def print_config(config: object) -> None:
    from omegaconf import OmegaConf

    print(OmegaConf.to_yaml(config), end="")


def verb_help(verb: str, overrides: Sequence[str]) -> None:
    """The verb's own configuration file, which comments every key, and the options of the checkpoint that is named."""
    from genzoo.config import config_folder

    takes = f"genzoo {verb} {'MODEL' if verb == 'gallery' else 'PRESET'}"
    print(f"{takes} key=value …\n\nKeys ({takes} --cfg job shows all of them with values):\n")
    file = config_folder() / f"{'train' if verb == 'check' else verb}.yaml"
    for line in file.read_text(encoding="utf-8").splitlines():
        print(f"  {line}")
    if any(o.startswith("checkpoint=") for o in overrides):
        options_help(verb, overrides)


def options_help(verb: str, overrides: Sequence[str]) -> None:
    """The options that a checkpoint's classes have, with type and default, and what their docstrings say."""
    from genzoo import checkpoint
    from genzoo.config.options import described, keywords, scores_class
    from genzoo.config.words import classes_of, nodes_of, options_of
    from genzoo.errors import UserError
    from genzoo.evaluation import checkpoint_path
    from genzoo.reading import printable

    path = checkpoint_path(overrides)
    try:
        saved = checkpoint.config_of(path)
        data, model = classes_of(saved, overrides)
        takes = options_of(verb, data, model)
        nodes = nodes_of("evaluate", saved, takes)
    except UserError as error:
        return print(f"\n(the options of {path} are not known: {printable(str(error))})")
    print(f"\nOptions of {path}, with their types and defaults:\n")
    for group in takes:
        prefix, values = "" if verb == "sample" else f"{group}.", nodes[f"{group}_of_checkpoint"][group]
        print(*(f"  {printable(line)}" for line in described(takes[group], values, prefix)), sep="\n")
    methods = [data.request, model.sample]
    if "scoring" in takes:
        scores = scores_class(data)
        methods += [scores.metrics, scores.conditional_metrics]
    for method in methods:
        if keywords(method):
            print(f"\n{method.__qualname__}: {inspect.getdoc(method)}")


def list_presets(rest: Sequence[str], given: argparse.Namespace) -> None:
    """Name and first comment line of every preset; name, size and score of the weights that come with genzoo."""
    from genzoo.config import config_folder, presets
    from genzoo.errors import UserError
    from genzoo.zoo import card, shipped

    if rest:
        raise UserError("genzoo list takes nothing but --config-dir DIR")
    config_dir = given.config_dir
    names = presets(config_dir)
    width = max(map(len, names))
    for name in names:
        file = config_folder() / "preset" / f"{name}.yaml"
        if not file.is_file() and config_dir:
            file = Path(config_dir) / "preset" / f"{name}.yaml"
        comments = [line[1:].strip() for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        comments = [line for line in comments if not line.startswith("@")]
        print(f"{name:{width}}  {comments[0] if comments else ''}")
    print("\nweights that come with genzoo (genzoo sample NAME):")
    for name, folder in shipped().items():
        size = (folder / "model.safetensors").stat().st_size / 1e6
        print(f"{name:{width}}  {size:4.1f} MB  {card(folder).about.get('score', '')}")


def export(rest: Sequence[str], given: argparse.Namespace) -> None:
    """Writes weights, configuration and a model card as the Hugging Face hub has them, ready for
    `hf upload USER/REPOSITORY FOLDER`; `genzoo.load("hf://USER/REPOSITORY")` then loads them anywhere.

    CHECKPOINT: a preset whose run is in runs/, a run folder, a checkpoint folder or a .safetensors file.
    --to: a folder that is not there yet, or empty.
    --dtype: of the weights: float32 (as they are), float16 or bfloat16 (half the size)."""
    from genzoo.errors import UserError
    from genzoo.export import export as write

    if len(rest) != 1 or given.to is None:
        raise UserError("it is genzoo export CHECKPOINT --to FOLDER [--dtype float16]; see genzoo export --help")
    for file in write(at_hand(rest[0]), given.to, dtype=given.dtype):
        print(file)


def demo(rest: Sequence[str], given: argparse.Namespace) -> None:
    """Trains the text model on the embedded text for about a minute and samples from it; then makes a page of samples
    from the weights that come with genzoo."""
    import shutil
    import tempfile

    from genzoo.errors import UserError

    if rest:
        raise UserError("genzoo demo takes no words; to choose, use genzoo train, genzoo sample and genzoo gallery")
    out = Path("runs") / "demo"
    if out.exists():
        out = Path(tempfile.mkdtemp(prefix="demo-", dir=out.parent)) / "run"
    run_train(["preset=text_demo", f"out={out}"], None, False)
    print()
    run_sample([f"checkpoint={out}", "prompt=The ", "stream=true"], None, False)
    print("\nThat was written by a model that did not exist two minutes ago. Now some that learned for longer:\n")
    page = out / "gallery.html"
    run_gallery([f"out={page}"], None, False)
    here = "" if shutil.which("genzoo") else f"(genzoo is {Path(sys.executable).parent / 'genzoo'})\n"
    print(
        f"""
Next:

  genzoo sample text prompt="ROMEO:"        from weights that come with genzoo; genzoo list shows all
  genzoo train text data.path=FILE          your own text: a txt, md or jsonl file, or a folder; ten minutes
  genzoo sample checkpoint={out} prompt="A list is" temperature=0.6
{here}
The page: {page.resolve()}"""
    )


PLAIN = {
    "list": (list_presets, " [--config-dir DIR]", "--config-dir"),
    "export": (export, " CHECKPOINT --to FOLDER [--dtype float16]", "--to", "--dtype"),
    "demo": (demo, ""),
}
"""Verbs without a configuration, what they take, and their options."""
