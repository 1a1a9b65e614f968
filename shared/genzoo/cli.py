"""The command line: `genzoo VERB PRESET key=value …`."""

import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path

HELP = """genzoo: train and sample small generative models of your own data

  genzoo train    PRESET key=value …        learn; the run goes to runs/PRESET (out=…)
  genzoo sample   PRESET key=value …        make examples with a trained model (checkpoint=…)
  genzoo evaluate PRESET key=value …        score a trained model (checkpoint=…)
  genzoo gallery  MODEL key=value …         what trained models make, on one page for a browser
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

VERBS = ("train", "sample", "evaluate", "gallery", "list", "export", "demo")


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


def dispatch(words: Sequence[str]) -> None:
    """Parses the words and runs the verb."""
    from genzoo.errors import UserError

    verb, rest = words[0], list(words[1:])
    if verb not in VERBS:
        from genzoo.config import did_you_mean

        raise UserError(f"there is no verb {verb!r}{did_you_mean(verb, VERBS)}; there are: {', '.join(VERBS)}")
    if verb in PLAIN:
        run, takes = PLAIN[verb]
        if rest and rest[0] in ("-h", "--help"):
            return print(f"genzoo {verb}{takes}\n\n{inspect.cleandoc(run.__doc__)}")
        return run(rest)
    show = many = False
    config_dir, preset, overrides = None, None, []
    while rest:
        word = rest.pop(0)
        if word in ("-h", "--help"):
            return verb_help(verb)
        if word == "--cfg":
            show = True
            if rest and rest[0] in ("job", "all", "hydra"):
                rest.pop(0)
        elif word in ("-m", "--multirun"):
            many = True
        elif word == "--config-dir":
            if not rest:
                raise UserError("--config-dir needs a folder")
            config_dir = rest.pop(0)
            if not Path(config_dir).is_dir():
                raise UserError(f"--config-dir {config_dir}: there is no such folder")
        elif word.startswith("-"):
            raise UserError(f"unknown option {word}; see genzoo {verb} --help")
        elif "=" in word:
            overrides.append(word)
        elif preset is None and not overrides:
            preset = word
        else:
            raise UserError(
                f"{word!r} is no key=value; the preset's name comes first: genzoo {verb} PRESET key=value …"
            )
    if verb == "train":
        overrides = [f"preset={preset}", *overrides] if preset else overrides
    elif verb == "gallery":
        overrides = [f"models=[{preset}]", *overrides] if preset else overrides
    elif not any(o.startswith("checkpoint=") for o in overrides):
        overrides.append(f"checkpoint={at_hand(preset or 'text')}")
    runner = {"train": run_train, "sample": run_sample, "evaluate": run_evaluate, "gallery": run_gallery}[verb]
    if not many:
        return runner(overrides, config_dir, show)
    from genzoo.config import sweep

    combinations = sweep(overrides)
    for i, combination in enumerate(combinations):
        if verb == "train" and not any(o.startswith("out=") for o in combination):
            combination = [*combination, f"out=multirun/{i:03d}"]
        print(f"[{i + 1}/{len(combinations)}] {' '.join(combination)}")
        runner(combination, config_dir, show)


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


def verb_help(verb: str) -> None:
    """The verb's own configuration file, which comments every key."""
    from genzoo.config import config_folder

    takes = f"genzoo {verb} {'MODEL' if verb == 'gallery' else 'PRESET'}"
    print(f"{takes} key=value …\n\nKeys ({takes} --cfg job shows all of them with values):\n")
    for line in (config_folder() / f"{verb}.yaml").read_text(encoding="utf-8").splitlines():
        print(f"  {line}")


def list_presets(rest: Sequence[str]) -> None:
    """Name and first comment line of every preset; name, size and score of the weights that come with genzoo."""
    from genzoo.config import config_folder, presets
    from genzoo.errors import UserError

    config_dir = None
    if rest:
        if rest[0] != "--config-dir" or len(rest) != 2:
            raise UserError("genzoo list takes nothing but --config-dir DIR")
        config_dir = rest[1]
        if not Path(config_dir).is_dir():
            raise UserError(f"--config-dir {config_dir}: there is no such folder")
    from genzoo.zoo import card, shipped

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


def export(rest: Sequence[str]) -> None:
    """Writes weights, configuration and a model card as the Hugging Face hub has them, ready for
    `hf upload USER/REPOSITORY FOLDER`; `genzoo.load("hf://USER/REPOSITORY")` then loads them anywhere.

    CHECKPOINT: a preset whose run is in runs/, a run folder, a checkpoint folder or a .safetensors file.
    --to: a folder that is not there yet, or empty.
    --dtype: of the weights: float32 (as they are), float16 or bfloat16 (half the size)."""
    from genzoo.errors import UserError
    from genzoo.export import export as write

    words, options = list(rest), {"dtype": "float32"}
    for name in ("to", "dtype"):
        for i, word in enumerate(words):
            if word == f"--{name}" and i + 1 < len(words):
                options[name] = words[i + 1]
                del words[i : i + 2]
                break
    if len(words) != 1 or words[0].startswith("-") or "to" not in options:
        raise UserError("it is genzoo export CHECKPOINT --to FOLDER [--dtype float16]; see genzoo export --help")
    for file in write(at_hand(words[0]), options["to"], dtype=options["dtype"]):
        print(file)


def demo(rest: Sequence[str]) -> None:
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
    "list": (list_presets, " [--config-dir DIR]"),
    "export": (export, " CHECKPOINT --to FOLDER [--dtype float16]"),
    "demo": (demo, ""),
}
"""Verbs without a configuration, and what they take."""
