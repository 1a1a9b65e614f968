"""Networks that scores need, trained on the data itself and kept in the cache folder."""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import torch
from torch import nn

from genzoo import sealed
from genzoo.checkpoint import replace
from genzoo.download import cache_folder
from genzoo.draws import seed_of
from genzoo.zoo import shipped

Net = TypeVar("Net", bound=nn.Module)


def trained_once(
    name: str, make: Callable[[], Net], train: Callable[[Net], None], *told: int | str, seed: int = 0
) -> Net:
    """What `train` makes of `make()`, ready to score; or as it was kept under this name, which bears the recipe's
    version, for the same `told`: all that the result depends on (a fingerprint of the data). It is looked for beside
    the weights that come with the packages too. A damaged file is made anew. seed: of torch's global numbers meanwhile:
    the first weights, dropout."""
    file = cache_folder() / f"{name}-{seed_of(*told):016x}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = make()
        for known in (file, *(folder / file.name for folder in shipped().values())):
            if known.is_file():
                with suppress(Exception):  # whatever a damaged file raises
                    net.load_state_dict(sealed.unseal(known))
                    return net.eval()
        what = name.rpartition("-")[0].replace("-", " ")
        print(f"training the {what} that scores need, kept in {file}", file=sys.stderr)
        with torch.enable_grad():
            train(net)
    with suppress(OSError):  # where nothing can be kept, it is trained again
        file.parent.mkdir(parents=True, exist_ok=True)
        replace(file, sealed.seal({name: x.contiguous() for name, x in net.state_dict().items()}))
    return net.eval()
