"""A network for music in four voices: a transformer over ticks, and voice by voice within a tick.

Legend: B batch, T tokens, M ticks, V = 4 voices, C width, F features looked up a tick, L pitch-like tokens,
A = V anchors, R relative pitches.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attention_core import Attention, Block, FeedForward, KVCache, Rotary
from attention_core.norm import layer_norm
from genzoo_audio.music.tokens import END, REST, TICKS_PER_BAR, TICKS_PER_BEAT, VOICES

V = len(VOICES)
REACH = 36
"""Intervals are told apart up to so many semitones."""
NO_INTERVAL = 2 * REACH + 1
INTERVALS = 2 * REACH + 2
LONGEST_HOLD = 32
"""Ticks up to which it is counted for how long a voice has held its note."""
HALF_LIVES = (8.0, 32.0, 128.0)
"""Ticks after which a pitch counts half, in the three memories of the pitch classes that were heard."""
NEVER = -1e4
"""Logit of what cannot be."""
AHEAD = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48)
"""Ticks ahead at which a given melody is read."""


def is_pitch(token: Tensor) -> Tensor:
    return (token > REST) & (token < END)


def interval(a: Tensor, b: Tensor) -> Tensor:
    """Index of a - b semitones in a table of `INTERVALS`; the last is for what are not two pitches."""
    known = is_pitch(a) & is_pitch(b)
    return torch.where(known, (a - b).clamp(-REACH, REACH) + REACH, NO_INTERVAL)


class Lookup(nn.Module):
    """The sum of one learned vector for each of several features: [..., F] indices -> [..., dim].

    sizes: number of values of each feature; an index of -1 adds nothing.
    blind: share of the features that is not looked at while training, drawn anew everywhere: what is learned by heart
        from small data rests on several of them at once.
    """

    def __init__(self, sizes: list[int], dim: int, *, blind: float = 0.0) -> None:
        super().__init__()
        self.blind = blind
        first = torch.tensor([0, *sizes]).cumsum(0)
        self.register_buffer("first_f", first[:-1], persistent=False)
        self.nothing = int(first[-1])
        self.bag = nn.EmbeddingBag(self.nothing + 1, dim, mode="sum", padding_idx=self.nothing)
        with torch.no_grad():
            self.bag.weight.normal_(std=len(sizes) ** -0.5)
            self.bag.weight[self.nothing] = 0

    def forward(self, features: Tensor) -> Tensor:
        unseen = features < 0
        if self.training and self.blind:
            unseen = unseen | (torch.rand(features.shape, device=features.device) < self.blind)
        index = torch.where(unseen, self.nothing, features + self.first_f)
        total = self.bag(index.flatten(0, -2)).view(*features.shape[:-1], -1)
        return total / (1 - self.blind) if self.training else total


class MusicCache(KVCache):
    """A memory for decoding token by token: of the blocks, the tokens so far, and what the present tick began with."""

    def __init__(self, layers: int, room: int) -> None:
        super().__init__(layers, room)
        self.clear()

    def clear(self) -> None:
        super().clear()
        self.tokens: Tensor | None = None
        self.begun: Tensor | None = None


class MusicTransformer(nn.Module):
    """Tokens [B, T] in, logits of the next token [B, T, vocab] out: the first is the start (or the bass before), then
    every tick is soprano, alto, tenor, bass.

    A causal transformer has one position a tick. It is told of the tick before: pitches, for how long each has been
    held, the two notes before each, the intervals between voices, the place in the bar, and which pitch classes were
    heard of late, seen from the bass and from the soprano. Its output and the voices of the present tick that are known
    already go through a few feed-forward layers. They score a pitch for itself, as an interval from the voice's note
    before and from the other three voices, and for going in parallel with a voice above, by their interval.

    vocab: number of tokens.
    dim, depth, heads: width C, blocks and heads of the transformer over ticks.
    ticks: the longest sequence it is meant for. window: ticks that a tick sees back, None for all.
    voice_depth: feed-forward layers within a tick. taps: length of the short convolutions over ticks.
    expand: width of feed-forward layers over dim.
    dropout: share of each branch, and of what is looked up, that is dropped while training.
    blind: share of the features of a tick, and of a voice, that is not looked at while training.

    `melody` [B, M], where it is given: the soprano's tokens from the first tick on, of which three bars are read ahead;
    -1 for a tick where it is unknown.
    """

    period = V * TICKS_PER_BAR

    def __init__(
        self,
        vocab: int,
        dim: int,
        *,
        depth: int,
        heads: int,
        ticks: int,
        window: int | None = None,
        voice_depth: int = 2,
        taps: int | None = 4,
        expand: float = 4.0,
        dropout: float = 0.0,
        blind: float = 0.0,
    ) -> None:
        super().__init__()
        self.vocab, self.ticks, self.context, self.dropout = vocab, ticks, V * ticks, dropout
        pairs = V * (V - 1) // 2
        sizes = [vocab + 1] * V + [LONGEST_HOLD + 1] * V + [INTERVALS] * (2 * V + pairs)
        self.embedding = Lookup([*sizes, TICKS_PER_BAR, TICKS_PER_BEAT], dim, blind=blind)
        self.heard = nn.Linear(2 * len(HALF_LIVES) * 12, dim, bias=False)
        self.melody = Lookup([vocab, *[INTERVALS] * len(AHEAD)], dim)
        self.voices = Lookup(
            [V * TICKS_PER_BAR, V * (LONGEST_HOLD + 1), V * INTERVALS, *[V * (vocab + 1), *[V * INTERVALS] * 4] * 3],
            dim,
            blind=blind,
        )
        self.blocks = nn.ModuleList(
            Block(
                Attention(dim, heads, causal=True, window=window, qk_norm=True, out_bias=False),
                FeedForward(dim, round(expand * dim)),
                taps=taps,
                dropout=dropout,
            )
            for _ in range(depth)
        )
        self.rotary = Rotary(dim // heads)
        self.layers = nn.ModuleList(FeedForward(dim, round(expand * dim)) for _ in range(voice_depth))
        for layer in self.layers:
            nn.init.zeros_(layer.to_out.weight)
        self.to_pitch_vlc = nn.Parameter(torch.randn(V, vocab, dim) * 0.002)
        self.to_interval_vrc = nn.Parameter(torch.randn(V, V * INTERVALS, dim) * 0.002)
        self.bias_vr = nn.Parameter(torch.zeros(V, V * INTERVALS))
        self.parallel_vvi = nn.Parameter(torch.zeros(V, V, 12))

    def make_cache(self) -> MusicCache:
        return MusicCache(len(self.blocks), self.ticks)

    def forward(
        self,
        tokens: Tensor,
        *,
        cond: Tensor | None = None,
        cache: MusicCache | None = None,
        last: bool = False,
        melody: Tensor | None = None,
    ) -> Tensor:
        """tokens: [B, T], those that follow the ones in the cache where one is given. cond: [B, C], added to ticks.

        last: logits of the last position only, [B, 1, vocab].
        """
        seen = 0
        if cache is not None and cache.tokens is not None:
            seen, tokens = cache.tokens.shape[1], torch.cat((cache.tokens, tokens), dim=1)
        end = tokens.shape[1]
        if end > self.context:
            raise ValueError(f"a sequence of {end} tokens is longer than the context of {self.context}")
        first = seen // V  # tick
        begun = cache.length if cache is not None else 0
        chords = self._chords(tokens)
        known = self._known(chords)
        if cache is not None:
            cache.tokens = tokens
        if begun < chords.shape[1]:
            h = self._over_ticks(known, begun, cond, cache, melody)
            if begun > first:
                h = torch.cat((cache.begun, h), dim=1)
        else:
            h = cache.begun
        if cache is not None:
            cache.begun = h[:, -1:]
        logits = self._voice_by_voice(h, chords[:, first:], {k: v[:, first:] for k, v in known.items()}, first)
        logits[:, :, 1:, END] = NEVER
        logits = self._told(logits, melody, first).flatten(1, 2)[:, seen - V * first : end - V * first]
        return logits[:, -1:] if last else logits

    # ---- what a tick knows

    def _chords(self, tokens: Tensor) -> Tensor:
        """[B, M, V, 2]: of each tick, last index: the tick before, and the present one (its unknown voices are -1)."""
        ticks = -(-tokens.shape[1] // V)
        now = F.pad(tokens[:, 1:], (0, V * ticks - tokens.shape[1] + 1), value=-1).view(-1, ticks, V)
        start = F.pad(tokens[:, :1], (V - 1, 0), value=self.vocab)
        before = torch.cat((start[:, None], now[:, :-1]), dim=1)
        return torch.stack((before, now), dim=3)

    @staticmethod
    def _known(chords: Tensor) -> dict[str, Tensor]:
        """Of the tick before, [B, M, V] each: the notes, how long they have been held, and the two notes before."""
        before = chords[..., 0]
        place = torch.arange(before.shape[1], device=before.device)[:, None]
        new = torch.ones_like(before, dtype=torch.bool)
        new[:, 1:] = before[:, 1:] != before[:, :-1]
        since = torch.where(new, place, 0).cummax(dim=1).values
        earlier = torch.where(since > 0, before.gather(1, (since - 1).clamp(min=0)), -1)
        since_2 = since.gather(1, (since - 1).clamp(min=0))
        earlier_2 = torch.where((since > 0) & (since_2 > 0), before.gather(1, (since_2 - 1).clamp(min=0)), -1)
        held = (place - since).clamp(max=LONGEST_HOLD)
        return {"before": before, "held": held, "earlier": earlier, "earlier_2": earlier_2}

    def _heard(self, before: Tensor, first: int) -> Tensor:
        """Which pitch classes were heard of late, seen from bass and soprano: [B, M - first, 72]."""
        classes = F.one_hot(torch.where(is_pitch(before), before % 12, 12), 13)[..., :12].sum(dim=2).float()
        ticks = before.shape[1]
        age = torch.arange(first, ticks, device=before.device)[:, None] - torch.arange(ticks, device=before.device)
        weights = [torch.where(age >= 0, 0.5 ** (age.clamp(min=0) / life), 0) for life in HALF_LIVES]
        heard = torch.stack([weight @ classes for weight in weights], dim=2)  # [B, M, 3, 12]
        heard = heard / (heard.sum(dim=-1, keepdim=True) + 1e-6)
        turn = torch.arange(12, device=before.device)
        seen = []
        for voice in (0, V - 1):
            anchor = before[:, first:, voice]
            index = (turn + torch.where(is_pitch(anchor), anchor % 12, 0)[..., None]) % 12
            seen.append(heard.gather(3, index[:, :, None].expand_as(heard)))
        return 3 * torch.cat(seen, dim=2).flatten(2)

    def _over_ticks(
        self, known: dict[str, Tensor], first: int, cond: Tensor | None, cache: MusicCache | None, melody: Tensor | None
    ) -> Tensor:
        """The transformer over the ticks from `first` on, [B, M - first, C]."""
        before, held, earlier, earlier_2 = (known[k][:, first:] for k in ("before", "held", "earlier", "earlier_2"))
        count = before.shape[1]
        place = torch.arange(first, first + count, device=before.device)
        pairs = [interval(before[..., i], before[..., j]) for i in range(V) for j in range(i + 1, V)]
        metre = torch.stack((place % TICKS_PER_BAR, place % TICKS_PER_BEAT), dim=1).expand(len(before), -1, -1)
        features = [before, held, interval(before, earlier), interval(before, earlier_2)]
        x = self.embedding(torch.cat((*features, torch.stack(pairs, dim=2), metre), dim=2))
        x = x + self.heard(self._heard(known["before"], first).to(x.dtype))
        if melody is not None:
            x = x + self._read_ahead(melody, before[..., 0], first)
        if cond is not None:
            x = x + cond[:, None]
        x = self._dropped(layer_norm(x))
        rotation = self.rotary(place)
        for i, block in enumerate(self.blocks):
            x = block(x, rotation=rotation, cache=None if cache is None else cache[i])
        return x

    def _read_ahead(self, melody: Tensor, before: Tensor, first: int) -> Tensor:
        """What is told of the melody at `first` and the ticks after it."""
        count = before.shape[1]
        melody = F.pad(melody, (0, max(0, first + count + max(AHEAD) - melody.shape[1])), value=-1)
        here = melody[:, first : first + count]
        steps = [here, interval(here, before)]
        steps += [interval(melody[:, first + a : first + a + count], here) for a in AHEAD[1:]]
        unknown = here < 0
        return self.melody(torch.stack(steps, dim=2).masked_fill(unknown[..., None], -1))

    # ---- within a tick

    def _voice_by_voice(self, h: Tensor, chords: Tensor, known: dict[str, Tensor], first: int) -> Tensor:
        """Logits [B, M, V, vocab] of each voice given the ones above it."""
        before, now = chords.unbind(dim=3)
        place = torch.arange(first, first + h.shape[1], device=h.device).expand(len(h), -1)
        features, anchors = [], []
        for v in range(V):
            own = before[..., v]
            mine = [
                v * TICKS_PER_BAR + place % TICKS_PER_BAR,
                v * (LONGEST_HOLD + 1) + known["held"][..., v],
                v * INTERVALS + interval(own, known["earlier"][..., v]),
            ]
            for j in range(V - 1):
                above = now[..., j]
                if j >= v:
                    mine += [torch.full_like(above, -1)] * 5
                    continue
                mine.append(v * (self.vocab + 1) + above.clamp(min=0))
                others = (before[..., j], own, now[..., 0], known["earlier"][..., j])
                mine += [v * INTERVALS + interval(above, other) for other in others]
            features.append(torch.stack(mine, dim=2))
            anchors.append(torch.cat((now[..., :v], before[..., v:]), dim=2))
        x = h[:, :, None] + self._dropped(self.voices(torch.stack(features, dim=2)))
        for layer in self.layers:
            x = x + self._dropped(layer(layer_norm(x)))
        x = layer_norm(x)
        pitches = torch.einsum("bmvc,vlc->bmvl", x, self.to_pitch_vlc)
        intervals = torch.einsum("bmvc,vrc->bmvr", x, self.to_interval_vrc)
        if x.dtype != torch.float64:
            pitches, intervals = pitches.float(), intervals.float()
        intervals = intervals + self.bias_vr
        pitches = pitches + self._in_parallel(before, now)
        anchors_bmva1 = torch.stack(anchors, dim=2)[..., None]
        index = interval(torch.arange(self.vocab, device=h.device), anchors_bmva1)
        return pitches + intervals.unflatten(3, (V, INTERVALS)).gather(4, index).sum(dim=3)

    def _in_parallel(self, before: Tensor, now: Tensor) -> Tensor:
        """What it counts [B, M, V, vocab] that a voice moves as one above it does, by their interval (fifths …)."""
        rows = []
        for v in range(V):
            own, above, was = before[..., v, None], now[..., :v], before[..., :v]
            moved = is_pitch(own) & is_pitch(above) & is_pitch(was) & (above != was)
            there = (own + above - was).clamp(REST + 1, END - 1)
            moved = moved & (there == own + above - was)
            counts = self.parallel_vvi[v, torch.arange(v, device=own.device), (was - own) % 12]
            row = torch.zeros(*own.shape[:2], self.vocab, device=own.device, dtype=counts.dtype)
            rows.append(row.scatter_add(2, there, torch.where(moved, counts, 0.0)))
        return torch.stack(rows, dim=2)

    def _told(self, logits: Tensor, melody: Tensor | None, first: int) -> Tensor:
        """Where the melody is known, the soprano is certain."""
        if melody is None:
            return logits
        here = melody[:, first : first + logits.shape[1]]
        here = F.pad(here, (0, logits.shape[1] - here.shape[1]), value=-1)
        other = (here[..., None] >= 0) & (torch.arange(self.vocab, device=here.device) != here[..., None])
        return torch.cat((logits[:, :, :1].masked_fill(other[:, :, None], NEVER), logits[:, :, 1:]), dim=2)

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout else x
