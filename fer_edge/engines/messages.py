"""Errors of native engines, each as one line: what failed, the cause if it is recognised, and the next step."""

from __future__ import annotations

import re
from typing import NamedTuple, TypeVar

from fer_edge._text import one_line
from fer_edge.errors import EngineError, EngineUnavailableError, FerEdgeError

READ, LOAD, COMPILE = LOADING = ("could not read the model", "could not load the model", "could not compile the model")
QUOTE_LENGTH = 120  # characters quoted from the engine's message next to a recognised cause
UNKNOWN_LENGTH = 240  # characters quoted where no cause is recognised

REBUILD = "build or fetch the bundle again"
SomeError = TypeVar("SomeError", bound=EngineError)


class Cause(NamedTuple):
    """A known cause of failures, recognised by a pattern in an engine's message."""

    pattern: str  # regular expression, case-insensitive
    cause: str
    advice: str  # template: {engine} is the title of the failing engine, {other} the name of another engine
    about_model: bool = False  # True: the engine refuses the model; False: it fails for another reason


# The first match wins; exhausted disk, memory and threads come first.
CAUSES = (
    Cause(
        r"no space left|disk quota exceeded",
        "the disk is full",
        "free some space, or set TMPDIR to a folder on another disk",
    ),
    Cause(
        r"bad_alloc|out of memory|not enough memory|MemoryError|failed to map segment|"
        r"(cannot|can't|could not|unable to|failed to) alloc",
        "there is not enough memory",
        "close other programs or raise the memory limit (ulimit -v, or the container's){less_memory}",
    ),
    Cause(
        r"pthread_create|resource temporarily unavailable|(start|create) (a )?(new )?thread|thread constructor failed",
        "the operating system refused to start another thread",
        "raise the limit of processes and threads (ulimit -u, or the container's pids limit) or the memory limit, "
        "which also applies to thread stacks{fewer_threads}",
    ),
    Cause(
        r"wrong cpu information",
        "the list of processors cannot be read",
        "mount /proc and /sys in this container or chroot, or use the engine {other}",
    ),
    Cause(
        r"(require|need|support|without|lack|miss)\w*\b.{0,60}\b(SSE|AVX|AMX|NEON|instruction set)",
        "this processor lacks required instructions",
        "use the engine {other}, or another machine",
    ),
    Cause(
        r"GLIBC|CXXABI|version .{1,40} not found",
        "this system's C or C++ library is older than the package requires",
        "install a version of {engine} for this system, or update the system",
    ),
    Cause(
        r"cannot load library|cannot open shared object|failed to create plugin|not registered in the OpenVINO Runtime|"
        r"undefined symbol|DLL load failed",
        "a library of the installation is missing or incompatible",
        "reinstall the package of {engine}",
    ),
    Cause(
        r"unsupported model IR version|guarantee\w*\W* support for models stamped|till opset",
        "the model uses a newer ONNX version than this engine supports",
        "update {engine}, or build the bundle again with the fer-edge installed here",
        about_model=True,
    ),
    Cause(
        r"no op registered|no opset import|no conversion rule|could not find an implementation|OpConversionFailure|"
        r"NOT_IMPLEMENTED|unsupported (op|layer)",
        "the model contains an operator that this engine does not support",
        "update {engine}, or build the bundle again with: fer-edge build-engine",
        about_model=True,
    ),
    Cause(
        r"external data",
        "the model stores weights in a separate file",
        "build the bundle with fer-edge build-engine, which stores them in the model",
        about_model=True,
    ),
    Cause(
        r"protobuf|unable to read the model|no graph was found",
        "the file is damaged, or not an ONNX model",
        REBUILD,
        about_model=True,
    ),
    Cause(
        r"tensor name 'images' is not found|required inputs|invalid (feed )?input name|failed to set tensor for input|"
        r"unexpected input data type|invalid dimensions for input|invalid rank for input",
        "the model's input is not `images`, uint8 (N, 112, 112, 3)",
        "build the bundle with: fer-edge build-engine",
        about_model=True,
    ),
    Cause(
        r"cannot be reshaped|(shape|dimension)s? (mismatch|do not match)|incompatible (shape|dimension)",
        "the model's graph does not support this batch size",
        REBUILD,
    ),
    Cause(
        r"invalid model|INVALID_GRAPH|not found in graph cache|not acyclic|TypeInferenceError|ShapeInferenceError",
        "the model's graph is invalid",
        REBUILD,
        about_model=True,
    ),
)
RESOURCES = CAUSES[:3]
OTHERS = {"OpenVINO": "onnxruntime", "ONNX Runtime": "openvino"}
# Measured with the shipped bundle: ONNX Runtime needs two thirds of OpenVINO's address space, and with one thread it
# starts no thread of its own.
LESS_MEMORY = {"OpenVINO": ", or use the engine onnxruntime, which needs less"}
FEWER_THREADS = {
    "OpenVINO": ", or use the engine onnxruntime with threads=1, which starts no threads",
    "ONNX Runtime": ", or use threads=1, which starts no threads",
}


def engine_error(engine: str, action: str, error: BaseException) -> EngineError:
    """Convert an exception of a native engine.

    Args:
        engine: Title of the engine, for example `OpenVINO`.
        action: Failed action, as it follows the title: `failed on a batch of 3`, or one of `LOADING`. If the cause is
            in the model, `refused the model` replaces one of `LOADING`.
        error: Exception of the engine; an `EngineError` is returned unchanged.
    """
    return error if isinstance(error, EngineError) else _convert(EngineError, engine, action, error)


def unavailable(engine: str, action: str, error: BaseException, install: str = "") -> EngineUnavailableError:
    """Convert an exception of an engine that cannot be imported or started.

    Args:
        engine: Title of the engine.
        action: Failed action, as for `engine_error`.
        error: Exception of the import or start.
        install: Command that installs the engine: the next step if no other cause is recognised.
    """
    text = _text_of(error)
    if isinstance(error, ModuleNotFoundError) or (install and _cause_of(text) is None):
        return EngineUnavailableError(f"{engine} {action} ({_excerpt(text, UNKNOWN_LENGTH)}); run: {install}")
    return _convert(EngineUnavailableError, engine, action, error)


def lacks_resources(error: BaseException) -> bool:
    """Return whether an error is caused by too little memory or disk space, or too few threads."""
    return _cause_of(_text_of(error)) in RESOURCES


def _cause_of(text: str) -> Cause | None:
    """Return the first known cause that matches an engine's message."""
    return next((cause for cause in CAUSES if re.search(cause.pattern, text, re.IGNORECASE)), None)


def _text_of(error: BaseException) -> str:
    """Return an exception's message, with its type if the message is empty or the type alone names the cause."""
    text = str(error)
    return f"{type(error).__name__}: {text}".removesuffix(": ") if isinstance(error, MemoryError) or not text else text


def _convert(kind: type[SomeError], engine: str, action: str, error: BaseException) -> SomeError:
    text = _text_of(error)
    if isinstance(error, FerEdgeError):
        return kind(f"{engine} {action}: {one_line(text)}")
    cause = _cause_of(text)
    if cause is None:
        advice = f"; update {engine}, or use the engine {OTHERS[engine]}" if engine in OTHERS else ""
        return kind(f"{engine} {action}: {_excerpt(text, UNKNOWN_LENGTH)}{advice}")
    advice = cause.advice.format(
        engine=engine,
        other=OTHERS.get(engine, "openvino"),
        less_memory=LESS_MEMORY.get(engine, ""),
        fewer_threads=FEWER_THREADS.get(engine, ""),
    )
    failure = "refused the model" if cause.about_model and action in LOADING else action
    return kind(f"{engine} {failure}: {cause.cause} ({_excerpt(text, QUOTE_LENGTH, cause)}); {advice}")


# Lines that contain only a place in the engine's source code.
_PLACES = re.compile(r"^\s*(Exception from \S+:\d+:|Check .* failed at \S+:\d+:|Please, check your environment)\s*$")
# Fixed phrases around the informative part of a message.
_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |Non-zero status code returned while .*Status Message: |"
    r"(This is an i|I)nvalid model\. (Error: )?|FrontEnd API failed with \w+:|Model wasn't fully converted\.|"
    r"Summary:( --)?|To facilitate the conversion of .*|In Node, .*, Error |Failed to create plugin \S+ for device \w+",
    re.DOTALL,
)
_SOURCE = re.compile(r"(?<![\w/])[\w./-]+\.(?:cc|cpp|cxx|h|hpp|cu):\d+ ")
_FOLDERS = re.compile(r"(?:/[^\s\"':/]+)*/(?:site-packages|dist-packages)/(?:[^\s\"':/]+/)*")


def _excerpt(text: str, limit: int, cause: Cause | None = None) -> str:
    """Return the sentence that matches the cause, or else the first informative one, on one line."""
    lines = [line for line in text.splitlines() if not _PLACES.match(line)]
    joined = one_line(_FOLDERS.sub("", _without_sources(_NOISE.sub("", " ".join(lines)))), 10_000)
    sentences = re.split(r"(?<=[a-z)])\. (?=[A-Z])", joined)
    matching = [sentence for sentence in sentences if cause is not None and re.search(cause.pattern, sentence, re.I)]
    sentence = next((sentence for sentence in (*matching, *sentences) if len(sentence) > 3), joined)
    return one_line((sentence or "no reason given").rstrip(" .;"), limit)


def _without_sources(text: str) -> str:
    """Remove `file.cc:12 returntype Class::function(arguments)`, which precedes ONNX Runtime's own message."""
    while (place := _SOURCE.search(text)) is not None:
        rest = text[place.end() :]
        text = text[: place.start()] + rest[_signature_length(rest) :]
    return text


def _signature_length(text: str) -> int:
    """Return the length of a C++ signature at the start of a text; 0 without one."""
    depth, opened = 0, False
    for index, character in enumerate(text):
        if character == "(":
            depth, opened = depth + 1, True
        elif character == ")":
            depth -= 1
            if depth == 0 and opened and text[index + 1 : index + 2] in ("", " ", "\n") and "::" in text[:index]:
                return index + 1
        elif not depth and character in ".,;" and text[index + 1 : index + 2] == " ":
            return 0
    return 0
