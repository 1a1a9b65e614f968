"""Patches hold the right pixels, and attention over space and time is what two loops give.

Legend: B batch, N channels, P patches, T frames, S places, C model width, K width of the condition.
"""

import itertools
import math

import pytest
import torch

from attention_core import Attention, Block, FeedForward, Patches, Rotary, SpaceTime, grid_positions, patch_positions

GRIDS = [((3,), (12,)), ((2, 3), (6, 6)), ((1, 2, 4), (3, 4, 8)), ((2, 1, 3, 2), (4, 2, 3, 6))]


@pytest.mark.parametrize(("size", "shape"), GRIDS, ids=str)
def test_round_trip(size, shape):
    """Cutting and putting together again gives every bit back, from either side."""
    patches, x = Patches(size), torch.randn(2, 3, *shape)
    tokens = patches(x)
    assert tokens.shape == (2, math.prod(shape) // math.prod(size), 3 * math.prod(size))
    assert patches.inverse(tokens, shape).equal(x)
    tokens = torch.randn_like(tokens)
    assert patches(patches.inverse(tokens, shape)).equal(tokens)
    assert not patches.state_dict()


@pytest.mark.parametrize(("size", "shape"), GRIDS, ids=str)
def test_each_patch_holds_its_pixels(size, shape):
    """Patch number p, in row-major order, is the block of the grid that starts at its corner, channels first."""
    x = torch.arange(2 * 3 * math.prod(shape)).view(2, 3, *shape)
    tokens = Patches(size)(x)
    grid = Patches(size).grid(shape)
    assert grid == tuple(n // p for n, p in zip(shape, size, strict=True))
    for number, place in enumerate(itertools.product(*(range(n) for n in grid))):
        block = x[(slice(None), slice(None), *(slice(i * p, (i + 1) * p) for i, p in zip(place, size, strict=True)))]
        assert tokens[:, number].equal(block.flatten(1))


@pytest.mark.parametrize("size", [(), (0,), (2, -1), (1, 1, 1, 1, 1)], ids=str)
def test_refused_sizes(size):
    """Patches have 1 to 4 axes of positive size."""
    with pytest.raises(ValueError, match="1 to 4 axes of size 1 or more"):
        Patches(size)


def test_refused_grids():
    """A grid that is no multiple of the patch, or has other axes, is refused on the way in and on the way back."""
    patches = Patches((2, 3))
    with pytest.raises(ValueError, match=r"shape \(4, 4\) cannot be cut into patches of \(2, 3\): pad or crop it"):
        patches(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="pad or crop it"):
        patches(torch.zeros(1, 1, 6))
    with pytest.raises(ValueError, match="pad or crop it"):
        patches.inverse(torch.zeros(1, 2, 6), (4, 4))


@pytest.mark.parametrize("shape", [(1, 2, 24), (1, 8, 6), (1, 4, 5)], ids=str)
def test_refused_tokens(shape):
    """Tokens whose number or width does not belong to the grid are refused, also where their elements would do."""
    with pytest.raises(ValueError, match="tokens"):
        Patches((2, 3)).inverse(torch.zeros(shape), (4, 6))


def test_patch_positions():
    """Centres in [-1, 1], row-major; refining the grid keeps the range: a coarse centre is the mean of its parts."""
    torch.testing.assert_close(patch_positions((4,)), torch.tensor([[-0.75], [-0.25], [0.25], [0.75]]))
    want = torch.tensor([[-0.5, -2 / 3], [-0.5, 0], [-0.5, 2 / 3], [0.5, -2 / 3], [0.5, 0], [0.5, 2 / 3]])
    torch.testing.assert_close(patch_positions((2, 3)), want)
    fine = patch_positions((2, 4, 6)).T.view(1, 3, 2, 4, 6)
    torch.testing.assert_close(torch.nn.functional.avg_pool3d(fine, 2)[0].flatten(1).T, patch_positions((1, 2, 3)))


def make_space_time(scramble, *, cond_dim=None, causal=True):
    space = Block(Attention(16, 2, qk_norm=True), FeedForward(16), cond_dim=cond_dim)
    time = Block(Attention(16, 2, causal=causal), FeedForward(16), cond_dim=cond_dim)
    return scramble(SpaceTime(space, time), std=0.3)


@pytest.mark.parametrize("turned", [False, True], ids=["no rotation", "rotation"])
@pytest.mark.parametrize("cond_shape", [None, (2, 5), (2, 3, 5)], ids=["no cond", "cond", "cond a frame"])
def test_two_loops(cond_shape, turned, scramble):
    """The same as going through the frames one by one, then through the places one by one."""
    both = make_space_time(scramble, cond_dim=cond_shape and 5)
    x_btsc = torch.randn(2, 3, 4, 16, dtype=torch.float64)
    cond = None if cond_shape is None else torch.randn(cond_shape, dtype=torch.float64)
    rotations = (None, None)
    if turned:
        rotations = (Rotary(8, axes=2).double()(grid_positions((2, 2))), Rotary(8).double()(torch.arange(3)))

    want = torch.empty_like(x_btsc)
    for frame in range(3):
        of_frame = cond[:, frame] if cond_shape and len(cond_shape) == 3 else cond
        options = {} if rotations[0] is None else {"rotation": rotations[0]}
        want[:, frame] = both.space(x_btsc[:, frame], cond=of_frame, **options)
    for place in range(4):
        options = {} if rotations[1] is None else {"rotation": rotations[1]}
        want[:, :, place] = both.time(want[:, :, place].clone(), cond=cond, **options)

    got = both(x_btsc, cond=cond, space_rotation=rotations[0], time_rotation=rotations[1])
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_causal_time_does_not_look_ahead(scramble):
    """A change in frame 2 leaves frames 0 and 1 as they were, and reaches every place from frame 2 on."""
    both = make_space_time(scramble)
    x_btsc = torch.randn(1, 4, 3, 16, dtype=torch.float64)
    changed = x_btsc.clone()
    changed[:, 2, 1] = torch.randn(16, dtype=torch.float64)
    before, after = both(x_btsc), both(changed)
    torch.testing.assert_close(after[:, :2], before[:, :2], rtol=0, atol=0)
    assert ((after - before).abs().amax(dim=-1)[0, 2:] > 1e-6).all()
    free = make_space_time(scramble, causal=False)
    assert (free(changed) - free(x_btsc))[:, 0].abs().max() > 1e-6


def test_frames_that_are_not_contiguous(scramble):
    """The memory layout of the input (channels in front, as patches of a video may come) does not matter."""
    both = make_space_time(scramble)
    x_btsc = torch.randn(2, 16, 4, 3, dtype=torch.float64).permute(0, 3, 2, 1)
    torch.testing.assert_close(both(x_btsc), both(x_btsc.contiguous()), rtol=0, atol=1e-12)
