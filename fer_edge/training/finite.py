"""Checks for NaN and infinity in a run."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from fer_edge.errors import NonFiniteError

_KINDS = ("", "the loss", "a gradient", "a weight")  # indexed by the code of a fault


def first_nonfinite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """Return the name of the first tensor with NaN or infinity, or None; synchronises with the device once."""
    floats = [(name, tensor) for name, tensor in tensors if tensor.is_floating_point()]
    if not floats:
        return None
    finite = torch.stack([tensor.isfinite().all().cpu() for _, tensor in floats]).tolist()
    return next((name for (name, _), is_finite in zip(floats, finite, strict=True) if not is_finite), None)


def nonfinite_state(module: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> str | None:
    """Return the name of the first value of a run's state that is not finite, or None.

    The state is weights and batch norm statistics, their averages, and the optimizer's state of each weight.
    """
    names: dict[Tensor, str] = {parameter: name for name, parameter in module.named_parameters()}
    optimizer_state = [
        (f"{key} of the optimizer for {names[parameter]}", value)
        for parameter, values in optimizer.state.items()
        for key, value in values.items()
        if isinstance(value, Tensor)
    ]
    return first_nonfinite(
        [
            *((f"the weight {name}", value) for name, value in module.state_dict().items()),
            *((f"the averaged weight {name}", value) for name, value in average.state_dict().items()),
            *optimizer_state,
        ]
    )


class StepCheck:
    """Check of loss, gradients and weights of each step.

    On a GPU the result stays on the device until `fault` is called, so that no step waits for it.
    """

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        names = {parameter: name for name, parameter in module.named_parameters()}
        self._trained = [(names[p], p) for group in optimizer.param_groups for p in group["params"]]
        buffers = (item for item in module.named_buffers() if item[1].is_floating_point())
        self._values = [*((name, parameter.detach()) for name, parameter in self._trained), *buffers]
        self._on_cpu = device.type == "cpu"
        self._fault = torch.zeros(2, dtype=torch.int64, device=device)  # code and step of the first fault
        self._gradient: str | None = None

    @torch.no_grad()
    def gradient_norm(self) -> Tensor:
        """Return the norm of all gradients, before clipping."""
        norm = get_total_norm([p.grad for _, p in self._trained if p.grad is not None])
        if self._on_cpu and not bool(norm.isfinite()):
            gradients = ((f"the gradient of {name}", p.grad) for name, p in self._trained if p.grad is not None)
            self._gradient = first_nonfinite(gradients) or "the norm of the gradients"
        return norm

    @torch.no_grad()
    def record(self, step: int, loss: Tensor, gradient_norm: Tensor) -> None:
        """Check the values of a step (counted from 1) after its weights were updated."""
        weights = get_total_norm([value for _, value in self._values], norm_type=torch.inf)  # squares could overflow
        bad = ~torch.stack([loss.detach().float(), gradient_norm.float(), weights.float()]).isfinite()
        code = torch.where(bad.any(), bad.long().argmax() + 1, 0)
        fault = torch.stack([code, torch.full_like(code, step)])
        self._fault = torch.where(self._fault[0] == 0, fault, self._fault)

    def fault(self) -> tuple[str, int] | None:
        """Return a description and the step of the first value that was not finite, or None."""
        code, step = self._fault.tolist()
        if code == 0:
            return None
        description = _KINDS[code]
        if code == 2 and self._gradient is not None:
            description = self._gradient
        if code == 3 and self._on_cpu:
            description = f"the weight {first_nonfinite(self._values)}"
        return description, step


def nonfinite_error(value: str, position: str, clip: float, resume_point: str | None) -> NonFiniteError:
    """Make the error of a run with NaN or infinity.

    Args:
        value: Description of the value: "the loss".
        position: Epoch and step.
        clip: Largest gradient norm of the run; 0 for no clipping.
        resume_point: Sentence on the folder's resume point; None without one.
    """
    limit = "" if clip else ", with --set clip=1"
    state, folder = (f"; {resume_point}", ", into another folder") if resume_point else ("", "")
    return NonFiniteError(
        f"{value} is NaN or infinite in {position}{state}. Train with a lower --learning-rate{limit}{folder}, "
        "and check the images"
    )
