"""Errors of native engines as one line each: what failed, the cause as far as it is known, and the next step."""

from __future__ import annotations

import re
from typing import NamedTuple, TypeVar

from fer_edge._text import one_line
from fer_edge.errors import EngineError, EngineUnavailableError, FerEdgeError

READ, LOAD, COMPILE = LOADING = ("could not read the model", "could not load the model", "could not compile the model")
SAID = 120  # characters of the engine's own words behind a cause that was recognised
UNKNOWN = 240  # characters of them where it was not

REBUILD = "build or fetch the bundle again"
SomeError = TypeVar("SomeError", bound=EngineError)


class Cause(NamedTuple):
    """A cause of failures, recognised from an engine's words."""

    words: str  # regular expression; case does not matter
    cause: str
    advice: str  # {engine} stands for the failing engine's title, {other} for another engine
    about_model: bool = False  # whether the engine refuses the model, rather than fails on it


# The first that matches counts; want of disk, memory and threads stands first.
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
        "the system starts no more threads",
        "raise the limit on processes and threads (ulimit -u, or the container's pids limit) or on memory, which their "
        "stacks take{fewer_threads}",
    ),
    Cause(
        r"wrong cpu information",
        "it cannot read which processors there are",
        "mount /proc and /sys in this container or chroot, or use the engine {other}",
    ),
    Cause(
        r"(require|need|support|without|lack|miss)\w*\b.{0,60}\b(SSE|AVX|AMX|NEON|instruction set)",
        "this processor lacks instructions that it needs",
        "use the engine {other}, or another machine",
    ),
    Cause(
        r"GLIBC|CXXABI|version .{1,40} not found",
        "this system's C or C++ library is older than the package needs",
        "install a version of {engine} for this system, or update the system",
    ),
    Cause(
        r"cannot load library|cannot open shared object|failed to create plugin|not registered in the OpenVINO Runtime|"
        r"undefined symbol|DLL load failed",
        "a part of its installation is missing or does not fit",
        "reinstall the package of {engine}",
    ),
    Cause(
        r"unsupported model IR version|guarantee\w*\W* support for models stamped|till opset",
        "the model is of a newer ONNX version than it knows",
        "update {engine}, or build the bundle again with the fer-edge installed here",
        about_model=True,
    ),
    Cause(
        r"no op registered|no opset import|no conversion rule|could not find an implementation|OpConversionFailure|"
        r"NOT_IMPLEMENTED|unsupported (op|layer)",
        "the model has an operator that it does not know",
        "update {engine}, or build the bundle again with: fer-edge build-engine",
        about_model=True,
    ),
    Cause(
        r"external data",
        "the model keeps weights in another file",
        "build the bundle with fer-edge build-engine, which puts them into the model",
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
        "the model's graph does not take a batch of this size",
        REBUILD,
    ),
    Cause(
        r"invalid model|INVALID_GRAPH|not found in graph cache|not acyclic|TypeInferenceError|ShapeInferenceError",
        "the model's graph is not valid",
        REBUILD,
        about_model=True,
    ),
)
RESOURCES = CAUSES[:3]
OTHERS = {"OpenVINO": "onnxruntime", "ONNX Runtime": "openvino"}
# Seen with the shipped bundle: ONNX Runtime takes two thirds of OpenVINO's address space, and starts no second thread
# where one is enough.
LESS_MEMORY = {"OpenVINO": ", or use the engine onnxruntime, which takes less"}
FEWER_THREADS = {
    "OpenVINO": ", or use the engine onnxruntime with threads=1, which starts none",
    "ONNX Runtime": ", or use threads=1, which starts none",
}


def engine_error(engine: str, action: str, error: BaseException) -> EngineError:
    """Make the error for what a native engine raised.

    Args:
        engine: Title of the engine, `OpenVINO`.
        action: What failed, as it follows the title: `failed on a batch of 3`, or one of `LOADING`; where the cause is
            in the model, `refused the model` takes the place of the latter.
        error: The engine's exception; one of fer-edge's own that is an `EngineError` is returned as it is.
    """
    return error if isinstance(error, EngineError) else _made(EngineError, engine, action, error)


def unavailable(engine: str, action: str, error: BaseException, install: str = "") -> EngineUnavailableError:
    """Make the error for an engine that cannot be imported or started.

    Args:
        engine: Title of the engine.
        action: As for `engine_error`.
        error: What was raised.
        install: Command that installs the engine, the next step where no other cause is known.
    """
    if isinstance(error, ModuleNotFoundError) or (install and cause_of(text_of(error)) is None):
        return EngineUnavailableError(f"{engine} {action} ({_meaning(text_of(error), UNKNOWN)}); run: {install}")
    return _made(EngineUnavailableError, engine, action, error)


def cause_of(text: str) -> Cause | None:
    """Recognise the cause in an engine's words."""
    return next((cause for cause in CAUSES if re.search(cause.words, text, re.IGNORECASE)), None)


def lacks_resources(error: BaseException) -> bool:
    """Whether an error comes of too little memory or disk, or too few threads, not of what was being done."""
    return cause_of(text_of(error)) in RESOURCES


def text_of(error: BaseException) -> str:
    """Give an exception's words, with its type where that alone tells something."""
    text = str(error)
    return f"{type(error).__name__}: {text}".removesuffix(": ") if isinstance(error, MemoryError) or not text else text


def _made(kind: type[SomeError], engine: str, action: str, error: BaseException) -> SomeError:
    text = text_of(error)
    if isinstance(error, FerEdgeError):
        return kind(f"{engine} {action}: {one_line(text)}")
    cause = cause_of(text)
    if cause is None:
        advice = f"; update {engine}, or use the engine {OTHERS[engine]}" if engine in OTHERS else ""
        return kind(f"{engine} {action}: {_meaning(text, UNKNOWN)}{advice}")
    advice = cause.advice.format(
        engine=engine,
        other=OTHERS.get(engine, "openvino"),
        less_memory=LESS_MEMORY.get(engine, ""),
        fewer_threads=FEWER_THREADS.get(engine, ""),
    )
    what = "refused the model" if cause.about_model and action in LOADING else action
    return kind(f"{engine} {what}: {cause.cause} ({_meaning(text, SAID, cause)}); {advice}")


# Lines that only say where in the engine's sources something was raised, and what stands around the words otherwise.
_PLACES = re.compile(r"^\s*(Exception from \S+:\d+:|Check .* failed at \S+:\d+:|Please, check your environment)\s*$")
_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |Non-zero status code returned while .*Status Message: |"
    r"(This is an i|I)nvalid model\. (Error: )?|FrontEnd API failed with \w+:|Model wasn't fully converted\.|"
    r"Summary:( --)?|To facilitate the conversion of .*|In Node, .*, Error |Failed to create plugin \S+ for device \w+",
    re.DOTALL,
)
_SOURCE = re.compile(r"(?<![\w/])[\w./-]+\.(?:cc|cpp|cxx|h|hpp|cu):\d+ ")
_FOLDERS = re.compile(r"(?:/[^\s\"':/]+)*/(?:site-packages|dist-packages)/(?:[^\s\"':/]+/)*")


def _meaning(text: str, limit: int, cause: Cause | None = None) -> str:
    """The sentence from which the cause was recognised, or else the first that means something, on one line."""
    lines = [line for line in text.splitlines() if not _PLACES.match(line)]
    joined = one_line(_FOLDERS.sub("", _without_sources(_NOISE.sub("", " ".join(lines)))), 10_000)
    sentences = re.split(r"(?<=[a-z)])\. (?=[A-Z])", joined)
    telling = [sentence for sentence in sentences if cause is not None and re.search(cause.words, sentence, re.I)]
    words = next((sentence for sentence in (*telling, *sentences) if len(sentence) > 3), joined) or "no reason given"
    return one_line(words.rstrip(" .;"), limit)


def _without_sources(text: str) -> str:
    """Without `file.cc:12 returntype Class::function(arguments)`, which stands before ONNX Runtime's own words."""
    while (place := _SOURCE.search(text)) is not None:
        rest = text[place.end() :]
        text = text[: place.start()] + rest[_signature(rest) :]
    return text


def _signature(text: str) -> int:
    """The length of a C++ signature at the start of a text; 0 if there is none."""
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
