"""AGE and CAGE: attention-based gait encodings (Rao et al., IJCAI 2020 and TPAMI 2021), learnt by reconstructing skeletons.

One encoder-decoder an axis of space, without sharing; here the three are one computation, their weights stacked along a first
dimension. Form and initial values are those of the released code; `CageConfig` has switches for what the papers say otherwise.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from gaitreid.pose.errors import UsageError
from gaitreid.reid.config import CageConfig
from gaitreid.reid.encode import Batch, Input
from gaitreid.reid.encoders.recurrent import attend, lstm, product
from gaitreid.reid.encoders.standard import AXES, Standardize
from gaitreid.reid.losses.contrastive import contrastive_loss
from gaitreid.reid.losses.locality import locality_loss, locality_mask
from gaitreid.reid.losses.reconstruction import reconstruction_loss

PROJECTION = 256  # width of the contrastive head


class Cell(nn.Module):
    """Weights of one LSTM layer an axis: gates in the order i, f, o, g, one bias, weights uniform in [-0.1, 0.1]."""

    opening: Tensor

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(AXES, 4 * hidden, inputs + hidden).uniform_(-0.1, 0.1))
        self.bias = nn.Parameter(torch.zeros(AXES, 4 * hidden, 1))
        opening = torch.zeros(4 * hidden, 1)
        opening[hidden : 2 * hidden] = 1  # the forget gate is open at first; as in TensorFlow this 1 is not learnt
        self.register_buffer("opening", opening, persistent=False)

    @property
    def gate_bias(self) -> Tensor:
        """What is added to the gates, (axes, 4 K, 1)."""
        bias: Tensor = self.bias + self.opening
        return bias


class Cage(nn.Module):
    """The three encoder-decoders and the contrastive head; fulfils `gaitreid.reid.encode.Encoder`."""

    mask: Tensor
    supervised = False
    steady = True  # what a step does hangs on shapes alone, so that a GPU can repeat it
    precision = torch.float32

    def __init__(self, takes: Input, config: CageConfig | None = None) -> None:
        super().__init__()
        self.config = config = _effective(config or CageConfig())
        self.length, self.joints = takes.length, takes.joints
        self.ahead = {"prediction": takes.length // 2, "prediction-full": takes.length}.get(config.pretext, 0)
        self.regularisation = config.regularisation
        k, joints = config.hidden, takes.joints
        attends = config.attention != "none"
        self.standardize = Standardize(joints, config.standardize)
        self.encoder1, self.encoder2 = Cell(joints, k), Cell(k, k)
        # The first decoder layer takes the auxiliary skeleton and, where there is attention, the attentional state.
        self.decoder1, self.decoder2 = Cell(joints + k if attends else joints, k), Cell(k, k)
        self.score = _glorot(k, k) if attends and config.score == "general" else None
        self.combine = _glorot(2 * k, k) if attends else None
        self.output = nn.Parameter(nn.init.trunc_normal_(torch.empty(AXES, joints, k), std=0.1, a=-0.2, b=0.2))
        self.output_bias = nn.Parameter(torch.zeros(AXES, joints, 1))
        self.head = nn.ParameterDict()
        if config.contrastive != "none":
            self.head = nn.ParameterDict(
                {
                    "inner": torch.randn(AXES, PROJECTION, k * takes.length),
                    "inner_bias": torch.zeros(AXES, PROJECTION, 1),
                    "outer": torch.randn(AXES, PROJECTION, PROJECTION),
                    "outer_bias": torch.zeros(AXES, PROJECTION, 1),
                }
            )
        self.register_buffer("mask", locality_mask(takes.length, config.window or takes.length), persistent=False)

    def prepare(self, frames: Tensor) -> None:
        """See `Encoder`."""
        self.standardize.prepare(frames)

    def forward(self, x: Tensor, aux: Tensor | None = None, free: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Encode and decode.

        Args:
            x: (f, axes, J, B), what the encoder reads.
            aux: (f, axes, J, B), what the decoder is fed; None is zeros, or its own output.
            free: without `aux` it is its own output; it always is where the configuration says so.

        Returns:
            Reconstruction (f, axes, J, B), attention (axes, B, f, f) with rows that sum to one, and context c_t
            (axes, B, f, K); without attention, (axes, B, 0, f) and the encoder's hidden states.
        """
        free = free or self.config.aux == "free"
        hidden, state = self._encode(x)
        axes, k, batch = state[0].shape
        values = hidden.permute(1, 3, 0, 2).reshape(axes * batch, -1, k)
        if self.combine is None:
            decoded = self._decode_plainly(len(x), state, aux, free).permute(1, 2, 0, 3)
            attention, context = values.new_zeros(axes, batch, 0, len(x)), values.view(axes, batch, -1, k)
        else:
            decoded, attention, context = self._decode(values, state, aux, free)
            attention, context = attention.view(axes, batch, len(x), -1), context.view(axes, batch, -1, k)
        flat = decoded.reshape(axes, k, -1).to(self.output.dtype)
        output = product(self.output, flat, self.output_bias).view(axes, -1, len(x), batch)
        return output.permute(2, 0, 1, 3), attention, context.to(x.dtype)

    def coordinates(self, windows: Tensor) -> Tensor:
        """What the network sees: (B, f, J, 3) -> (f, axes, J, B)."""
        standard: Tensor = self.standardize(windows)
        return standard.permute(1, 3, 2, 0).contiguous()

    def features(self, windows: Tensor) -> Tensor:
        """AGE or CAGE of every frame: the context vectors of the three axes side by side, (B, f, 3 K)."""
        return self.by_axis(windows).permute(1, 2, 0, 3).flatten(2)

    def by_axis(self, windows: Tensor) -> Tensor:
        """Features of every axis: (axes, B, f, K)."""
        if self.config.features == "hidden" or self.combine is None:
            return self._encode(self.coordinates(windows))[0].permute(1, 3, 0, 2)
        return self.as_encoded(windows)[2]

    def as_encoded(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `forward` gives where windows (B, f, J, 3) are encoded: the decoder is fed as `encode_aux` says."""
        x = self.coordinates(windows)
        free = self.config.encode_aux == "free"
        # Tasks whose target is not known here are not taught by it either (`_effective`).
        aux = None if free else self._aux(x.flip(0) if self.config.pretext == "reverse" else x)
        result: tuple[Tensor, Tensor, Tensor] = self(x, aux, free)
        return result

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Encoder`: the weighted sum of all losses but the regularisation (CAGE, eq. 12)."""
        config = self.config
        x = self.coordinates(batch.windows)
        read, target = self._task(x, batch)
        output, attention, context = self(read, self._aux(target))
        parts = {"reconstruction": reconstruction_loss(output, target, batch.has_later if self.ahead else None)}
        total = config.reconstruction_weight * parts["reconstruction"]
        if config.attention == "las":
            parts["locality"] = locality_loss(attention, self.mask)
            total = total + config.locality_weight * parts["locality"]
        counts = batch.has_later if self.ahead else torch.ones_like(batch.has_later)
        total = total * batch.weight(counts, summed=config.reduction == "sum")
        if self.head:
            pairs = batch.pairs(config.interval)
            pairs = torch.ones_like(pairs) if config.pairs == "batch" else pairs
            track = batch.track if config.pairs == "within" else None
            z = self.project(context)
            parts["contrastive"] = contrastive_loss(z, pairs, config.temperature, config.contrastive == "paper", track)
            total = total + config.contrastive_weight * parts["contrastive"]
        return total, {"loss": total.detach(), **{name: part.detach() for name, part in parts.items()}}

    def project(self, context: Tensor) -> Tensor:
        """Contrastive head: (axes, B, f, K) -> (axes, B, 256)."""
        flat = context.flatten(2).transpose(1, 2)
        inner = torch.relu(product(self.head["inner"], self._low(flat), self.head["inner_bias"]))
        return product(self.head["outer"], inner, self.head["outer_bias"]).transpose(1, 2)

    def _encode(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(f, axes, J, B) -> top hidden states (f, axes, K, B); h and c of the first layer and of the second."""
        state: tuple[Tensor, ...] = ()
        for layer in (self.encoder1, self.encoder2):
            x, *last = lstm(self._low(x), layer.weight, layer.gate_bias, None, None)
            state = (*state, *last)
        return x, state

    def _decode(self, values: Tensor, state: tuple[Tensor, ...], aux: Tensor | None, free: bool) -> tuple[Tensor, Tensor, Tensor]:
        assert self.combine is not None
        keys = values if self.score is None else self._keys(values)
        weight: Tensor = self.decoder1.weight  # without an auxiliary input the columns of the joints meet nothing
        bias, gates = self.decoder1.gate_bias, None
        of_aux = weight[:, :, : self.joints]
        if aux is not None:
            gates = product(of_aux, aux.permute(1, 2, 0, 3).reshape(AXES, self.joints, -1))
            gates = gates.view(AXES, -1, len(aux), aux.shape[-1]).permute(2, 0, 1, 3)
        elif free:
            # What is fed back is linear in the attentional state, so it goes into the weights; the first input is zeros.
            k = self.config.hidden
            fed, constant = torch.bmm(of_aux, self.output), torch.bmm(of_aux, self.output_bias)
            weight = weight[:, :, self.joints :]
            weight = torch.cat([weight[:, :, :k] + fed, weight[:, :, k:]], dim=2)
            bias = bias + constant
            first = torch.arange(values.shape[1], device=values.device)[:, None, None, None] == 0
            gates = torch.where(first, -constant, 0.0).expand(-1, -1, -1, state[0].shape[-1])
        mask = self.mask if self.config.attention == "mbas" else None
        weights, biases = (weight, self.decoder2.weight, self.combine), (bias, self.decoder2.gate_bias)
        h1, c1, h2, c2 = state
        return attend(gates, weights, biases, (h1, c1, h2, c2), keys, values, mask, self.config.squash)

    def _low(self, tensor: Tensor) -> Tensor:
        """In the precision that products are done in."""
        return tensor if self.precision == torch.float32 else tensor.to(self.precision)

    def _keys(self, values: Tensor) -> Tensor:
        assert self.score is not None
        flat = values.view(AXES, -1, values.shape[-1])
        return product(flat, self._low(self.score).transpose(1, 2)).view_as(values)

    def _decode_plainly(self, length: int, state: tuple[Tensor, ...], aux: Tensor | None, free: bool) -> Tensor:
        """Top hidden states (f, axes, K, B), without attention."""
        h1, c1, h2, c2 = state
        weight: Tensor = self.decoder1.weight
        if aux is None and free:
            fed, steps = h1.new_zeros(1, AXES, self.joints, h1.shape[-1]), []
            for _ in range(length):
                x, h1, c1 = lstm(self._low(fed), weight, self.decoder1.gate_bias, h1, c1)
                x, h2, c2 = lstm(x, self.decoder2.weight, self.decoder2.gate_bias, h2, c2)
                steps.append(x)
                fed = product(self.output, x[0].to(self.output.dtype), self.output_bias)[None]
            return torch.cat(steps)
        if aux is None:
            aux, weight = h1.new_zeros(length, AXES, 0, h1.shape[-1]), weight[:, :, self.joints :]
        x, _, _ = lstm(self._low(aux), weight, self.decoder1.gate_bias, h1, c1)
        return lstm(x, self.decoder2.weight, self.decoder2.gate_bias, h2, c2)[0]

    def _task(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """What is read and what is to come out (CAGE, section 3.2 and 3.7)."""
        if self.config.pretext == "reverse":
            return x, x.flip(0)
        if self.ahead:
            return x, self.coordinates(batch.later)
        if self.config.pretext == "sorting":
            draw = torch.rand(AXES, x.shape[-1], len(x), generator=batch.generator, device=x.device)
            order = draw.argsort(dim=2).permute(2, 0, 1)[:, :, None].expand_as(x)
            return x.gather(0, order), x
        return x, x

    def _aux(self, target: Tensor) -> Tensor | None:
        """The frame before, of the target; zeros before the first (CAGE, section 3.2)."""
        return torch.cat([torch.zeros_like(target[:1]), target[:-1]]) if self.config.aux == "teacher" else None


class CagePlus(nn.Module):
    """CAGE Rev. Rec. Plus: one encoder a pretext task, trained independently, their features side by side within each axis."""

    supervised = False
    steady = True

    def __init__(self, takes: Input, config: CageConfig | None = None) -> None:
        super().__init__()
        config = config or CageConfig()
        if len(set(config.tasks)) < len(config.tasks) or not config.tasks:
            raise UsageError(f"cage.tasks is {', '.join(config.tasks)}: expected one or more different tasks")
        # Seen from the loss the encoders do not touch, and clipping and Adam go element by element: training them side by side
        # is training them one after another.
        self.tasks = nn.ModuleList([Cage(takes, replace(config, pretext=task)) for task in config.tasks])
        self.length = takes.length
        self.ahead = max(task.ahead for task in self.encoders)
        self.regularisation = config.regularisation
        if len({task.ahead for task in self.encoders if task.ahead}) > 1:
            raise UsageError("cage.tasks: prediction and prediction-full cannot be had at once")

    @property
    def encoders(self) -> list[Cage]:
        """Of the tasks, in order."""
        return [task for task in self.tasks if isinstance(task, Cage)]

    def prepare(self, frames: Tensor) -> None:
        """See `Encoder`."""
        for encoder in self.encoders:
            encoder.prepare(frames)

    def features(self, windows: Tensor) -> Tensor:
        """[x: task, task, ... | y: ... | z: ...], (B, f, 3 K tasks)."""
        return torch.cat([e.by_axis(windows) for e in self.encoders], dim=-1).permute(1, 2, 0, 3).flatten(2)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Encoder`: the sum over the tasks."""
        losses = {e.config.pretext: e.loss(batch) for e in self.encoders}
        total = torch.stack([loss for loss, _ in losses.values()]).sum()
        return total, {"loss": total.detach(), **{task: parts["loss"] for task, (_, parts) in losses.items()}}


def age(takes: Input, config: CageConfig | None = None) -> Cage:
    """AGE (SGE-LA, IJCAI 2020): CAGE without the contrastive loss."""
    return Cage(takes, replace(config or CageConfig(), contrastive="none"))


def _effective(config: CageConfig) -> CageConfig:
    """Choices that exclude one another resolved as the papers do.

    Prediction and sorting have no reverse order for the attention to follow, and their target is not known when windows are
    encoded.
    """
    if config.pretext not in {"reverse", "plain"}:
        attention = "bas" if config.attention in {"las", "mbas"} else config.attention
        aux = "free" if config.aux == "teacher" else config.aux
        config = replace(config, attention=attention, aux=aux)
    return config


def _glorot(inputs: int, outputs: int) -> nn.Parameter:
    """Glorot-uniform weights, one matrix (outputs, inputs) an axis."""
    bound = math.sqrt(6 / (inputs + outputs))
    return nn.Parameter(torch.empty(AXES, outputs, inputs).uniform_(-bound, bound))
