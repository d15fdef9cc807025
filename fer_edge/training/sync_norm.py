"""Batch norms with statistics of the whole batch when several processes share it.

GPUs use PyTorch's SyncBatchNorm, which does not support CPUs; CPUs use the class of this module.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class CpuSyncBatchNorm(nn.BatchNorm2d):
    """Batch norm with training statistics over all processes, for parts of equal size."""

    def _check_input_dim(self, input: Tensor) -> None:  # any shape with channels second
        if input.dim() < 2:
            raise ValueError(f"expected at least two dimensions, got {input.dim()}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        axes = [axis for axis in range(input.dim()) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(input.dim())]
        processes = torch.distributed.get_world_size()
        mean = all_reduce(input.mean(dim=axes)) / processes  # (C,)
        centered = input - mean.view(shape)
        variance = all_reduce(centered.square().mean(dim=axes)) / processes  # (C,)
        with torch.no_grad():
            count = input.numel() // input.shape[1] * processes
            assert self.running_mean is not None and self.running_var is not None
            assert self.num_batches_tracked is not None and self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        scaled = centered * (variance + self.eps).rsqrt().view(shape)  # (N, C, ...)
        return scaled * self.weight.view(shape) + self.bias.view(shape)


def with_synced_norms(module: nn.Module, device_type: str) -> nn.Module:
    """Replace every batch norm by a synchronised one; parameters and names stay."""
    if device_type != "cpu":
        return cast(nn.Module, nn.SyncBatchNorm.convert_sync_batchnorm(module))
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            synced = CpuSyncBatchNorm(child.num_features, child.eps, child.momentum)
            synced.weight, synced.bias = child.weight, child.bias
            synced.running_mean, synced.running_var = child.running_mean, child.running_var
            synced.num_batches_tracked = child.num_batches_tracked
            setattr(module, name, synced.train(child.training))
        else:
            with_synced_norms(child, device_type)
    return module
