"""How fast a trained model of sound speaks: seconds of sound for each second of CPU time, on one thread.

    OMP_NUM_THREADS=1 python tests/benchmarks/streaming.py --checkpoint runs/audio --clips 40

Everything is counted that `genzoo sample stream=true` does after loading: tokens, decoding, the bytes written.
"""

import argparse
import io
import time

import torch

import genzoo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--clips", type=int, default=40)
    words = parser.parse_args()
    torch.set_num_threads(1)
    trained = genzoo.load(words.checkpoint, device="cpu")
    sound_s, slowest = 0.0, float("inf")
    request = trained.request(1)
    trained.data.play(trained.stream(request, seed=0), io.BytesIO(), request)  # the first call sets things up
    began = time.process_time()
    for seed in range(words.clips):
        out, start = io.BytesIO(), time.process_time()
        trained.data.play(trained.stream(request, seed=seed), out, request)
        seconds = (len(out.getvalue()) - 44) / 2 / trained.data.rate_hz
        sound_s += seconds
        slowest = min(slowest, seconds / (time.process_time() - start))
    spent = time.process_time() - began
    rate = f"{sound_s / spent:.2f} x real time, the slowest clip {slowest:.2f} x"
    print(f"{sound_s:.1f} s of sound in {spent:.1f} CPU s: {rate}")


if __name__ == "__main__":
    main()
