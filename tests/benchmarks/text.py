"""Speed of a training step and of decoding, beside Hugging Face GPT-2 and x-transformers, in one process.

    make bench
    python tests/benchmarks/text.py --threads 1 2 --rounds 5 --nanogpt FOLDER

All models have the same width, depth, heads, vocabulary and context and no dropout; every step is forward, loss,
backward, clipping and AdamW, in float32 and under the same bfloat16 autocast. Rounds take turns, so that a slow moment
of the machine hits all alike; the figure is the median over rounds of CPU time (of the process, all threads), and the
ratio is to ours: above 1 is slower than genzoo. Decoding is greedy, one sequence, float32, with each library's own
key/value cache, from the same prompt.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from attention_core import TokenTransformer
from genzoo.api import for_decoding
from genzoo.contract import Batch, Spec
from genzoo.families import Autoregressive

VOCAB = 65
SIZES = {
    "nano": dict(dim=128, depth=4, heads=4, context=64, batch=12, new=54),
    "small": dict(dim=384, depth=6, heads=6, context=256, batch=4, new=200),
}


def ours(size: dict) -> tuple[nn.Module, Callable, Callable]:
    """(model, loss of a batch of tokens [B, T + 1], greedy decoding of n tokens)."""
    net = partial(TokenTransformer, **{key: size[key] for key in ("dim", "depth", "heads", "context")})
    model = Autoregressive(Spec((size["context"],), vocab=VOCAB), net)
    generator = torch.Generator().manual_seed(0)

    def loss(tokens: torch.Tensor) -> torch.Tensor:
        return model(Batch(tokens[:, 1:], {"prefix": tokens[:, :1]}), generator).value.mean()

    def decode(prompt: torch.Tensor, n: int) -> None:
        model.sample(1, {"prefix": prompt}, generator, length=n, temperature=0)

    return model, loss, decode


def hugging_face(size: dict) -> tuple[nn.Module, Callable, Callable]:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCAB,
        n_positions=size["context"],
        n_embd=size["dim"],
        n_layer=size["depth"],
        n_head=size["heads"],
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=None,
    )
    model = GPT2LMHeadModel(config)

    def loss(tokens: torch.Tensor) -> torch.Tensor:
        logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    def decode(prompt: torch.Tensor, n: int) -> None:
        mask = torch.ones_like(prompt)
        model.generate(prompt, attention_mask=mask, max_new_tokens=n, min_new_tokens=n, do_sample=False, pad_token_id=0)

    return model, loss, decode


def x_transformers(size: dict) -> tuple[nn.Module, Callable, Callable]:
    from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper

    layers = Decoder(
        dim=size["dim"],
        depth=size["depth"],
        heads=size["heads"],
        attn_dim_head=size["dim"] // size["heads"],
        attn_flash=True,
        rotary_pos_emb=True,
        use_simple_rmsnorm=True,
        ff_relu_squared=True,
        ff_no_bias=True,
        attn_qk_norm=False,
    )
    net = TransformerWrapper(num_tokens=VOCAB, max_seq_len=size["context"], use_abs_pos_emb=False, attn_layers=layers)
    model = AutoregressiveWrapper(net)

    def loss(tokens: torch.Tensor) -> torch.Tensor:
        return model(tokens)

    def decode(prompt: torch.Tensor, n: int) -> None:
        model.generate(prompt, n, temperature=0.0, cache_kv=True)

    return model, loss, decode


def nano_gpt(size: dict) -> tuple[nn.Module, Callable, Callable]:
    from model import GPT, GPTConfig

    config = GPTConfig(
        block_size=size["context"],
        vocab_size=VOCAB,
        n_layer=size["depth"],
        n_head=size["heads"],
        n_embd=size["dim"],
        dropout=0.0,
        bias=False,
    )
    model = GPT(config)

    def loss(tokens: torch.Tensor) -> torch.Tensor:
        return model(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())[1]

    def decode(prompt: torch.Tensor, n: int) -> None:
        model.generate(prompt, n, temperature=1.0, top_k=1)

    return model, loss, decode


def cpu_seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def training_step(model: nn.Module, loss: Callable, tokens: torch.Tensor, bfloat16: bool) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            value = loss(tokens)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def compare(name: str, makers: dict[str, Callable], rounds: int, threads: int) -> None:
    """Prints median CPU time of a step and of a decoded token, by library."""
    size = SIZES[name]
    torch.set_num_threads(threads)
    tokens = torch.randint(0, VOCAB, (size["batch"], size["context"] + 1), generator=torch.Generator().manual_seed(0))
    runs: dict[str, dict[str, Callable[[], float]]] = {}
    parameters = {}
    repeat = 5 if name == "nano" else 2
    for library, make in makers.items():
        torch.manual_seed(0)
        model, loss, decode = make(size)
        parameters[library] = sum(p.numel() for p in model.parameters())
        float32, bfloat16 = (training_step(model, loss, tokens, precise) for precise in (False, True))

        def train(model: nn.Module = model, step: Callable = float32) -> float:
            model.train()
            return cpu_seconds(lambda: [step() for _ in range(repeat)]) / repeat

        def write(model: nn.Module = model, decode: Callable = decode) -> float:
            model.eval()
            if isinstance(model, Autoregressive):
                for_decoding(model)
            with torch.inference_mode():
                return cpu_seconds(lambda: decode(tokens[:1, :8], size["new"])) / size["new"]

        runs[library] = {"step": train, "step bf16": partial(train, step=bfloat16), "token": write}
    print(f"\n{name}: {size}, {threads} thread(s), median CPU time of {rounds} rounds, ms (ratio to genzoo)")
    print(f"{'':16}{'parameters':>12}{'step, float32':>20}{'step, bfloat16':>20}{'token':>18}{'tokens/s':>10}")
    times = {library: {kind: [] for kind in kinds} for library, kinds in runs.items()}
    for kind in ("step", "step bf16", "token"):
        for i in range(rounds + 1):  # the first round warms up
            for library in runs:
                seconds = runs[library][kind]()
                if i:
                    times[library][kind].append(seconds)
    medians = {library: {k: statistics.median(v) for k, v in kinds.items()} for library, kinds in times.items()}
    for library, median in medians.items():
        cells = [f"{median[k] * 1e3:.2f} ({median[k] / medians['genzoo'][k]:.2f})" for k in median]
        print(
            f"{library:16}{parameters[library]:>12,}{cells[0]:>20}{cells[1]:>20}{cells[2]:>18}"
            f"{1 / median['token']:>10.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nanogpt", help="a checkout of karpathy/nanoGPT to join")
    words = parser.parse_args()
    makers = {"genzoo": ours, "GPT-2 (HF)": hugging_face, "x-transformers": x_transformers}
    if words.nanogpt:
        sys.path.insert(0, words.nanogpt)
        makers["nanoGPT"] = nano_gpt
    for threads in words.threads:
        for name in words.sizes:
            compare(name, makers, words.rounds, threads)


if __name__ == "__main__":
    main()
