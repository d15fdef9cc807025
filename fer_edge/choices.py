"""Choices of settings and options, as Literal types.

Imports only `typing`, so that the command line refuses a wrong choice without loading anything else.
"""

from typing import Literal

EngineName = Literal["openvino", "onnxruntime", "tensorrt", "tensorrt-rtx"]
RunnerName = Literal[EngineName, "pytorch"]  # pytorch runs checkpoints
DEFAULT_ENGINE: EngineName = "openvino"  # installed with fer-edge; runs graphs of every precision
TENSOR_ENGINE: EngineName = "onnxruntime"  # computes tensors inside graphs operator by operator, bit-identical
BuildPrecision = Literal["fp32", "fp16", "int8"]
Precision = Literal["fp32", "fp16", "int8", "mixed"]  # mixed: int8 with some layers in float
FloatPrecision = Literal["fp32", "fp16"]  # precision of the layers that are not int8
Head = Literal["label", "text", "mean"]  # head whose probabilities a model returns; mean: of both
CalibrationMethod = Literal["minmax", "moving-average", "percentile", "entropy", "mse"]
LayerKind = Literal["conv", "depthwise", "linear", "attention", "head"]
Split = Literal["train", "valid", "test"]
LayoutName = Literal["auto", "ferplus", "rafdb", "rafdb-original", "list", "sfew", "folders"]
LabelSetName = Literal["rafdb", "ferplus", "sfew"]
ItemKind = Literal["image", "rows", "member", "video", "damaged"]  # of a plan of `fer-edge score`
Detail = Literal["fast", "normal", "fine"]  # of the search for faces
PresetName = Literal["edge", "edge-ir", "edge-tiny", "paper", "release", "teacher"]
SENTENCE_ENCODER = "minilm"  # name of the text encoder of the extra `text`; all other names are models of open_clip
LabelTargets = Literal["majority", "probability", "crossentropy", "multi_target"]
TextSide = Literal["learned", "features", "frozen", "fine-tuned"]
Accelerator = Literal["auto", "cpu", "cuda"]
InstanceKind = Literal["cpu", "gpu"]
PLOT_SUFFIXES = (".svg", ".png", ".pdf")  # picture formats of `--plot`
