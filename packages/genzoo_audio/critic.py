"""The critic of waves.

Legend: B clips, T samples, F frames, K bins, S scores.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from genzoo.contract import Spec
from genzoo_audio.spectra import window_samples

GROUND = 1e-3
"""Added to magnitudes before they are companded: below it the critic hears nothing."""


class SpectrumCritic(nn.Module):
    """Convolutions over short-time spectra at several resolutions (Zeghidour et al. 2021, SoundStream, sec. III.D;
    Défossez et al. 2023, EnCodec, fig. 2): waves [B, T] in, a score for every place of every spectrum out [B, S].

    Real and imaginary parts, their magnitude companded by its square root, so that soft sounds count too.

    spec: waves (T,). rate_hz: their rate. windows_s: of the spectra, in seconds. dim: channels. depth: convolutions
    that halve the frequencies. Labels are not looked at.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        rate_hz: int,
        windows_s: Sequence[float] = (0.016, 0.032, 0.064),
        dim: int = 16,
        depth: int = 3,
    ) -> None:
        super().__init__()
        if spec.vocab or len(spec.shape) != 1:
            raise ValueError("this critic hears waves: choose objective.critic=genzoo.objectives.TransformerCritic")
        self.windows = [window_samples(seconds, rate_hz) for seconds in windows_s]
        self.nets = nn.ModuleList(self._net(dim, depth) for _ in self.windows)

    @staticmethod
    def _net(dim: int, depth: int) -> nn.Sequential:
        layers: list[nn.Module] = [nn.Conv2d(2, dim, (3, 5), stride=(1, 2), padding=(1, 2)), nn.LeakyReLU(0.2)]
        for _ in range(depth - 1):
            layers += [nn.Conv2d(dim, dim, (3, 5), stride=(1, 2), padding=(1, 2)), nn.LeakyReLU(0.2)]
        out = nn.Conv2d(dim, 1, (3, 3), padding=1)
        nn.init.zeros_(out.weight)
        nn.init.zeros_(out.bias)
        return nn.Sequential(*layers, out)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        scores = []
        for window, net in zip(self.windows, self.nets, strict=True):
            hann = torch.hann_window(window, device=x.device)
            with torch.autocast(x.device.type, enabled=False):
                spectrum = torch.stft(
                    x.float(), window, window // 2, window=hann, pad_mode="constant", return_complex=True
                )
                spectrum = spectrum / hann.sum()
                size = (spectrum.real.square() + spectrum.imag.square() + GROUND**2).sqrt()
                parts_b2fk = (
                    torch.stack((spectrum.real, spectrum.imag), dim=1).transpose(2, 3) / size.sqrt().mT[:, None]
                )
            scores.append(net(4 * parts_b2fk).flatten(1))
        return torch.cat(scores, dim=1)
