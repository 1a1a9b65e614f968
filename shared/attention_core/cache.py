"""Keys and values that were computed already, kept for decoding token by token.

Legend: B batch, G key/value heads, L room (positions), D head width.
"""

import torch
from torch import Tensor


class LayerCache:
    """What one layer remembers of the positions it has seen: keys, values, and the last inputs of its convolutions.

    >>> layer = LayerCache(room=8)
    >>> keys, values = layer.append(torch.zeros(1, 4, 3, 16), torch.zeros(1, 4, 3, 16))
    >>> layer.length
    3
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.clear()

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Adds keys and values [B, G, T, D] and returns all so far; ValueError where the room is used up."""
        if self._keys_bgld is None:
            batch, heads, _, width = keys.shape
            self._keys_bgld = keys.new_empty(batch, heads, self.room, width)
            self._values_bgld = values.new_empty(batch, heads, self.room, values.shape[-1])
        end = self.length + keys.shape[2]
        if end > self.room:
            raise ValueError(f"the cache has room for {self.room} positions, {end} were asked for: make it longer")
        self._keys_bgld[:, :, self.length : end] = keys
        self._values_bgld[:, :, self.length : end] = values
        self.length = end
        return self._keys_bgld[:, :, :end], self._values_bgld[:, :, :end]

    def with_tail(self, name: str, x: Tensor, count: int) -> Tensor:
        """x [B, T, C] with the `count` inputs before it in front (zeros at the start): [B, count + T, C]."""
        tail = self._tails.get(name)
        if tail is None:
            tail = x.new_zeros(x.shape[0], count, x.shape[2])
        joined = torch.cat((tail, x), dim=1)
        self._tails[name] = joined[:, joined.shape[1] - count :]
        return joined

    def clear(self) -> None:
        """Forgets all positions: what comes next may be of another batch size, precision or device."""
        self.length = 0
        self._tails: dict[str, Tensor] = {}
        self._keys_bgld: Tensor | None = None
        self._values_bgld: Tensor | None = None


class KVCache:
    """One `LayerCache` a layer. `cache[i]` goes to layer i; `length` is how many positions have been seen.

    >>> cache = KVCache(layers=2, room=8)
    >>> keys, values = cache[0].append(torch.zeros(1, 4, 3, 16), torch.zeros(1, 4, 3, 16))
    >>> keys.shape
    torch.Size([1, 4, 3, 16])
    """

    def __init__(self, layers: int, room: int) -> None:
        self.layers = [LayerCache(room) for _ in range(layers)]

    def __getitem__(self, layer: int) -> LayerCache:
        return self.layers[layer]

    @property
    def length(self) -> int:
        return self.layers[0].length

    def clear(self) -> None:
        for layer in self.layers:
            layer.clear()
