"""CAGE: contrastive attention-based gait encodings (Rao et al., TPAMI 2021), learnt by reverse reconstruction.

One encoder-decoder an axis of space, without sharing; here the three are one batched computation, their weights stacked along
a first dimension. Form and initial values are those of the released code: two LSTM layers of K units on each side, the forget
gate's bias 1, attention with a learnt matrix, no tanh, and a decoder that is fed zeros.
"""

import math

import torch
from torch import Tensor, nn

from gaitreid.reid.config import CageConfig
from gaitreid.reid.losses.contrastive import contrastive_loss
from gaitreid.reid.losses.locality import locality_loss, locality_mask
from gaitreid.reid.losses.reconstruction import reconstruction_loss

AXES = 3
State = tuple[Tensor, Tensor]


class GroupedLSTMCell(nn.Module):
    """One LSTM layer an axis, computed together: gates in the order i, f, g, o, one bias, weights uniform in [-0.1, 0.1]."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.empty(AXES, inputs, 4 * hidden).uniform_(-0.1, 0.1))
        self.hidden = nn.Parameter(torch.empty(AXES, hidden, 4 * hidden).uniform_(-0.1, 0.1))
        bias = torch.zeros(AXES, 1, 4 * hidden)
        bias[..., hidden : 2 * hidden] = 1  # the forget gate is open at first
        self.bias = nn.Parameter(bias)

    def project(self, x: Tensor) -> Tensor:
        """Input's part of the gates: (axes, B, inputs) -> (axes, B, 4 hidden)."""
        return torch.baddbmm(self.bias, x, self.input)

    def forward(self, projected: Tensor, state: State) -> State:
        """One step: the projected input and (h, c), each (axes, B, hidden), to the next (h, c)."""
        i, f, g, o = torch.baddbmm(projected, state[0], self.hidden).chunk(4, dim=-1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class Cage(nn.Module):
    """The three encoder-decoders and the contrastive head; fulfils `gaitreid.reid.encode.Encoder`.

    Args:
        joints: J.
        length: f, frames a window.
    """

    mask: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, joints: int, length: int, config: CageConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or CageConfig()
        self.length = length
        k = config.hidden
        self.encoder1, self.encoder2 = GroupedLSTMCell(joints, k), GroupedLSTMCell(k, k)
        # The first decoder layer's input is the last skeleton, zeros in the released code, and the attentional state.
        self.decoder1, self.decoder2 = GroupedLSTMCell(joints + k, k), GroupedLSTMCell(k, k)
        self.score = _weights(k, k)
        self.combine = _weights(2 * k, k)
        self.output = nn.Parameter(nn.init.trunc_normal_(torch.empty(AXES, k, joints), std=0.1, a=-0.2, b=0.2))
        self.output_bias = nn.Parameter(torch.zeros(AXES, 1, joints))
        self.head = nn.ParameterDict()
        if config.contrastive != "none":
            self.head = nn.ParameterDict(
                {
                    "inner": torch.randn(AXES, k * length, 256),
                    "inner_bias": torch.zeros(AXES, 1, 256),
                    "outer": torch.randn(AXES, 256, 256),
                    "outer_bias": torch.zeros(AXES, 1, 256),
                }
            )
        self.register_buffer("mask", locality_mask(length, config.window or length), persistent=False)
        self.register_buffer("mean", torch.zeros(joints, AXES))
        self.register_buffer("deviation", torch.ones(joints, AXES))

    def prepare(self, frames: Tensor) -> None:
        """See `Encoder`: mean and deviation of every coordinate."""
        if self.config.standardize:
            self.mean.copy_(frames.mean(dim=0))
            self.deviation.copy_(frames.std(dim=0).clamp_min(1e-3))

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode and decode.

        Args:
            windows: (B, f, J, 3).

        Returns:
            Reconstruction of the reversed window (axes, B, f, J), attention (axes, B, f, f) with rows that sum to one, and
            context c_t (axes, B, f, K).
        """
        hidden, states = self._encode(self.coordinates(windows))
        return self._decode(hidden, states)

    def coordinates(self, windows: Tensor) -> Tensor:
        """What the network sees: (B, f, J, 3) -> (axes, B, f, J)."""
        return ((windows - self.mean) / self.deviation).permute(3, 0, 1, 2)

    def features(self, windows: Tensor) -> Tensor:
        """CAGE of every frame: the context vectors of the three axes side by side, (B, f, 3 K)."""
        context: Tensor = self(windows)[2]
        return context.permute(1, 2, 0, 3).flatten(2)

    def loss(self, windows: Tensor, follows: Tensor) -> tuple[Tensor, dict[str, float]]:
        """See `Encoder`: the weighted sum of all losses (CAGE, eq. 12)."""
        output, attention, context = self(windows)
        parts = {"reconstruction": reconstruction_loss(output, self.coordinates(windows).flip(2))}
        total = self.config.reconstruction_weight * parts["reconstruction"]
        if self.config.attention == "las":
            parts["locality"] = locality_loss(attention, self.mask)
            total = total + self.config.locality_weight * parts["locality"]
        if self.head:
            z = self.project(context)
            parts["contrastive"] = contrastive_loss(z, follows, self.config.temperature, self.config.contrastive == "paper")
            total = total + self.config.contrastive_weight * parts["contrastive"]
        norm = torch.stack([p.square().sum() for p in self.parameters()]).sum()
        total = total + self.config.regularisation * 0.5 * norm
        return total, {"loss": float(total.detach()), **{name: float(part.detach()) for name, part in parts.items()}}

    def project(self, context: Tensor) -> Tensor:
        """Contrastive head: (axes, B, f, K) -> (axes, B, 256)."""
        inner = torch.relu(torch.baddbmm(self.head["inner_bias"], context.flatten(2), self.head["inner"]))
        return torch.baddbmm(self.head["outer_bias"], inner, self.head["outer"])

    def _encode(self, x: Tensor) -> tuple[Tensor, list[State]]:
        """(axes, B, f, J) -> top hidden states (axes, B, f, K) and the last state of each layer."""
        states = []
        for layer in (self.encoder1, self.encoder2):
            zero = x.new_zeros(AXES, x.shape[1], self.config.hidden)
            state, steps = (zero, zero), []
            projected = layer.project(x.flatten(1, 2)).view(AXES, x.shape[1], self.length, -1)  # all steps in one product
            for t in range(self.length):
                state = layer(projected[:, :, t], state)
                steps.append(state[0])
            states.append(state)
            x = torch.stack(steps, dim=2)
        return x, states

    def _decode(self, hidden: Tensor, states: list[State]) -> tuple[Tensor, Tensor, Tensor]:
        axes, batch, length, k = hidden.shape
        keys = torch.bmm(hidden.flatten(1, 2), self.score).view(axes * batch, length, k)
        values = hidden.reshape(axes * batch, length, k)
        first, second = self.decoder1, self.decoder2
        attentional = hidden.new_zeros(axes, batch, k)
        zero_input = first.bias.expand(-1, batch, -1)
        weights, contexts, outputs = [], [], []
        for _ in range(length):
            # The aux input is zero, so only the attentional state's rows of the input weights count.
            projected = torch.baddbmm(zero_input, attentional, first.input[:, -k:])
            states[0] = first(projected, states[0])
            states[1] = second(second.project(states[0][0]), states[1])
            query = states[1][0]
            a = torch.softmax(torch.bmm(keys, query.reshape(axes * batch, k, 1)), dim=1)  # (axes B, f, 1)
            context = torch.bmm(a.transpose(1, 2), values).view(axes, batch, k)
            attentional = torch.bmm(torch.cat([query, context], dim=-1), self.combine)
            weights.append(a.view(axes, batch, length))
            contexts.append(context)
            outputs.append(attentional)
        flat = torch.stack(outputs, dim=2).flatten(1, 2)
        output = torch.baddbmm(self.output_bias, flat, self.output).view(axes, batch, length, -1)
        return output, torch.stack(weights, dim=2), torch.stack(contexts, dim=2)


def _weights(inputs: int, outputs: int) -> nn.Parameter:
    """Glorot-uniform weights, one matrix an axis."""
    bound = math.sqrt(6 / (inputs + outputs))
    return nn.Parameter(torch.empty(AXES, inputs, outputs).uniform_(-bound, bound))
