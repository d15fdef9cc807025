"""The training form of a model in PyTorch, eager or compiled."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.plain import Plain
from benchmarks.peers.protocol import Face, answer, parser
from benchmarks.plain_export import as_published
from fer_edge.model.checkpoint import load_checkpoint


def main() -> None:
    """Serve."""
    options = parser(__doc__)
    options.add_argument("--checkpoint", type=Path, required=True)
    options.add_argument("--described", type=Path, required=True)
    options.add_argument("--compile", action="store_true")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    plain = Plain(given.described)
    model: Any = as_published(load_checkpoint(given.checkpoint).model).eval()
    if given.compile:
        model = torch.compile(model)

    def recognise(face: Face) -> int:
        with torch.inference_mode():
            output = model(torch.from_numpy(plain.prepare(face)))
        text = None if output.text_logits is None else output.text_logits.numpy()
        return plain.decide(output.label_logits.numpy(), text)

    ready = {
        "labels": plain.labels,
        "bytes": given.checkpoint.stat().st_size,
        "versions": f"torch {torch.__version__}, Python {platform.python_version()}",
    }
    answer(recognise, given.faces, ready)


if __name__ == "__main__":
    main()
