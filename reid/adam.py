"""Adam as torch has it, without what importing torch's optimizers costs."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Adam:
    """Adam (Kingma and Ba, ICLR 2015), by torch's fused step, with what the papers do to gradients before it.

    The first of torch's own optimizers imports its compiler, which takes longer than many a training here. Results are those of
    `torch.optim.Adam`, and a state of that one can be gone on from.

    Args:
        parameters: those without a gradient are passed over in a step.
        rate: learning rate; may be changed between steps.
        regularisation: times the parameter, is added to its gradient.
        clip: gradients are then cut to [-clip, clip], element by element; None does not.
    """

    betas, epsilon = (0.9, 0.999), 1e-8

    def __init__(
        self, parameters: Iterable[nn.Parameter], rate: float, *, regularisation: float = 0.0, clip: float | None = None
    ) -> None:
        self.parameters = list(parameters)
        self.rate, self.regularisation, self.clip = rate, regularisation, clip
        self.state: dict[int, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters by their gradients, which are changed too."""
        used = [(number, p, p.grad) for number, p in enumerate(self.parameters) if p.grad is not None]
        if not used:
            return
        for number, parameter, _ in used:
            if number not in self.state:
                moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
                self.state[number] = {"step": torch.zeros((), device=parameter.device), **moments}
        parameters: list[Tensor] = [p for _, p, _ in used]
        gradients = [g for _, _, g in used]
        steps, means, squares = ([self.state[n][name] for n, _, _ in used] for name in ("step", "exp_avg", "exp_avg_sq"))
        if self.regularisation:
            torch._foreach_add_(gradients, parameters, alpha=self.regularisation)
        if self.clip is not None:
            torch._foreach_clamp_min_(gradients, -self.clip)
            torch._foreach_clamp_max_(gradients, self.clip)
        torch._foreach_add_(steps, 1)
        rates: dict[str, Any] = {"lr": self.rate, "beta1": self.betas[0], "beta2": self.betas[1], "eps": self.epsilon}
        flags: dict[str, Any] = {"weight_decay": 0.0, "amsgrad": False, "maximize": False}
        torch._fused_adam_(parameters, gradients, means, squares, [], steps, **rates, **flags)

    def state_dict(self) -> dict[str, Any]:
        """Moments and steps, by the number of the parameter."""
        return {"state": self.state, "param_groups": [{"params": list(range(len(self.parameters)))}]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there.

        Raises:
            ValueError: it is of other parameters.
        """
        kept: dict[int, dict[str, Tensor]] = state["state"]
        shapes = {number: of["exp_avg"].shape for number, of in kept.items()}
        own = {number: p.shape for number, p in enumerate(self.parameters)}
        if len(state["param_groups"][0]["params"]) != len(own) or not shapes.items() <= own.items():
            raise ValueError("the optimiser's state is that of other parameters")
        self.state = {
            number: {name: of[name].to(self.parameters[number].device, copy=True) for name in ("step", "exp_avg", "exp_avg_sq")}
            for number, of in kept.items()
        }
