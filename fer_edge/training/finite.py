"""Checks for NaN and infinity in a run."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from fer_edge.errors import NonFiniteError

_KINDS = ("", "the loss", "a gradient", "a weight")  # a fault's code is an index


def first_nonfinite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """Name of the first tensor that holds NaN or infinity; waits for the device once."""
    floats = [(name, tensor) for name, tensor in tensors if tensor.is_floating_point()]
    if not floats:
        return None
    finite = torch.stack([tensor.isfinite().all().cpu() for _, tensor in floats]).tolist()
    return next((name for (name, _), whole in zip(floats, finite, strict=True) if not whole), None)


def nonfinite_state(learner: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> str | None:
    """Name of the first value of a run's state that is not finite.

    The state is weights and statistics of batch norms, their averages, and the optimizer's values of each weight.
    """
    names: dict[Tensor, str] = {parameter: name for name, parameter in learner.named_parameters()}
    kept = [
        (f"{key} of the optimizer for {names[parameter]}", value)
        for parameter, values in optimizer.state.items()
        for key, value in values.items()
        if isinstance(value, Tensor)
    ]
    return first_nonfinite(
        [
            *((f"the weight {name}", value) for name, value in learner.state_dict().items()),
            *((f"the averaged weight {name}", value) for name, value in average.state_dict().items()),
            *kept,
        ]
    )


class StepCheck:
    """Loss, gradients and weights of each step; where a device computes, read once in several steps.

    What is seen stays on the device until `fault` is called, so that no step waits for it.
    """

    def __init__(self, learner: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        names = {parameter: name for name, parameter in learner.named_parameters()}
        self._trained = [(names[p], p) for group in optimizer.param_groups for p in group["params"]]
        buffers = (item for item in learner.named_buffers() if item[1].is_floating_point())
        self._values = [*((name, parameter.detach()) for name, parameter in self._trained), *buffers]
        self._at_once = device.type == "cpu"
        self._fault = torch.zeros(2, dtype=torch.int64, device=device)  # code and step of the first fault
        self._gradient: str | None = None

    @torch.no_grad()
    def gradient_norm(self) -> Tensor:
        """Norm of all gradients, before they are clipped."""
        norm = get_total_norm([p.grad for _, p in self._trained if p.grad is not None])
        if self._at_once and not bool(norm.isfinite()):
            gradients = ((f"the gradient of {name}", p.grad) for name, p in self._trained if p.grad is not None)
            self._gradient = first_nonfinite(gradients) or "the norm of the gradients"
        return norm

    @torch.no_grad()
    def record(self, step: int, loss: Tensor, gradient_norm: Tensor) -> None:
        """Look at the numbers of a step, counted from 1, after its weights were changed."""
        weights = get_total_norm([value for _, value in self._values], norm_type=torch.inf)  # squares could overflow
        bad = ~torch.stack([loss.detach().float(), gradient_norm.float(), weights.float()]).isfinite()
        code = torch.where(bad.any(), bad.long().argmax() + 1, 0)
        seen = torch.stack([code, torch.full_like(code, step)])
        self._fault = torch.where(self._fault[0] == 0, seen, self._fault)

    def fault(self) -> tuple[str, int] | None:
        """What was not finite first, and in which step; None if all is."""
        code, step = self._fault.tolist()
        if code == 0:
            return None
        what = _KINDS[code]
        if code == 2 and self._gradient is not None:
            what = self._gradient
        if code == 3 and self._at_once:
            what = f"the weight {first_nonfinite(self._values)}"
        return what, step


def stopped_by(what: str, where: str, clip: float, kept: str | None) -> NonFiniteError:
    """The error of a run whose numbers are lost.

    Args:
        what: Which number, "the loss".
        where: Epoch and step.
        clip: Largest gradient norm of the run; 0 for any.
        kept: The resume point that the folder holds; None without one.
    """
    limit = "" if clip else ", with --set clip=1"
    saved, folder = (f"; {kept}", ", into another folder") if kept else ("", "")
    return NonFiniteError(
        f"{what} is NaN or infinite in {where}{saved}. Train with a lower --learning-rate{limit}{folder}, "
        "and check the images"
    )
