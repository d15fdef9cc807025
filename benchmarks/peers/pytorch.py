"""Worker of the training form of a model in PyTorch, eager or compiled."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.plain_model import PlainModel
from benchmarks.peers.protocol import Face, parser, serve
from benchmarks.plain_export import as_published
from fer_edge.model.checkpoint import load_checkpoint


def main() -> None:
    """Load the model and serve."""
    arguments = parser(__doc__)
    arguments.add_argument("--checkpoint", type=Path, required=True)
    arguments.add_argument("--description", type=Path, required=True)
    arguments.add_argument("--compile", action="store_true")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    plain = PlainModel(options.description)
    model: Any = as_published(load_checkpoint(options.checkpoint).model).eval()
    if options.compile:
        model = torch.compile(model)

    def recognise(face: Face) -> int:
        with torch.inference_mode():
            output = model(torch.from_numpy(plain.prepare(face)))
        text = None if output.text_logits is None else output.text_logits.numpy()
        return plain.predict(output.label_logits.numpy(), text)

    ready = {
        "labels": plain.labels,
        "bytes": options.checkpoint.stat().st_size,
        "versions": f"torch {torch.__version__}, Python {platform.python_version()}",
    }
    serve(recognise, options.faces, ready)


if __name__ == "__main__":
    main()
