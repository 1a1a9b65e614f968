"""What a reward is worth of two checkpoints: its mean over many samples of each, drawn as training draws them
(temperature 1, no guidance), with standard errors.

    python tests/benchmarks/rewards.py runs/python runs/python_reward --function genzoo_text.rewards:parses \\
        --ask '{prompt: "\\n\\n\\n"}' --n 2000
"""

import argparse

import torch
import yaml

import genzoo
from genzoo.config import locate
from genzoo.draws import GeneratorNoise, torch_generator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--function", required=True, help="module:function (samples, data, conditions)")
    parser.add_argument("--ask", default="{}", help="the wish, as in configs/reward")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--prepare", action="store_true", help="open the data: some rewards look at it")
    parser.add_argument("--show", type=int, default=0, help="samples to print")
    told = parser.parse_args()
    function = locate(told.function.replace(":", "."), "--function")
    for path in told.checkpoints:
        trained = genzoo.load(path)
        if told.prepare:
            trained.data.prepare()
        values = []
        for first in range(0, told.n, 64):
            n = min(64, told.n - first)
            cond = trained.data.request(n, **yaml.safe_load(told.ask)).cond
            with torch.inference_mode():
                x = trained.model.sample(n, cond, GeneratorNoise(torch_generator("rewards", first)))
            values.append(torch.as_tensor(function(x, trained.data, cond), dtype=torch.float64))
            for row in x[: max(0, told.show - first)]:
                print(trained.data.describe(row, trained.data.request(1)), "\n---")
        value = torch.cat(values)
        print(f"{path}: {value.mean():.4g} ± {value.std() / len(value) ** 0.5:.2g} (n {len(value)})")


if __name__ == "__main__":
    main()
