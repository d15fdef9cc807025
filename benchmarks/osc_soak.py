"""Send expressions to VRChat's and VMC's outputs for minutes, and compare what liblo's oscdump receives.

    PYTHONPATH=. .venv/bin/python benchmarks/osc_soak.py --minutes 10

Frames arrive 30 times a second, each with a score that no other frame has. VMC sends every frame, VRChat 10 a second.
After a third of the time, the receiver of VRChat is killed for five seconds: VMC must not lose a message. Every message
that was sent is compared with what was received, and the values of VMC with the scores of the frames.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from pythonosc.osc_packet import OscPacket

from fer_edge.live.output import Output, Update
from fer_edge.live.outputs.mapping import AvatarMapping, FloatTarget, IntTarget
from fer_edge.live.outputs.osc import Encoder, OscOutput
from fer_edge.live.outputs.vmc import VmcEncoder
from fer_edge.live.outputs.vrchat import VRChatEncoder
from tests.live.outputs.receivers import Message, OscDump
from tests.live.outputs.updates import LABELS, person, update
from tests.video.clips import wait_until

RATE = 30  # frames a second
PRECISION = 1e-6  # of the numbers that oscdump prints
PAUSE = 5.0  # seconds without a receiver of VRChat
FLOATS = tuple(FloatTarget(label.title(), {label: 1.0}) for label in LABELS)
VMC = AvatarMapping(hold=0, fade=0, floats=FLOATS)
VRCHAT = AvatarMapping(floats=FLOATS, ints=(IntTarget("Emotion", {label: i for i, label in enumerate(LABELS)}),))


class Recorder(Encoder):
    """Encoder that stores the messages of another encoder with their times.

    Args:
        encoder: The other encoder.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.sent: list[tuple[float, Message]] = []

    def encode(self, update: Update, now: float) -> Sequence[bytes]:
        return self._store(self._encoder.encode(update, now))

    def encode_neutral(self) -> Sequence[bytes]:
        return self._store(self._encoder.encode_neutral())

    def restart(self) -> None:
        self._encoder.restart()

    def _store(self, datagrams: Sequence[bytes]) -> Sequence[bytes]:
        now = time.monotonic()
        for datagram in datagrams:
            for timed in OscPacket(datagram).messages:
                values = tuple(timed.message.params)
                types = "".join({float: "f", int: "i", str: "s"}[type(value)] for value in values)
                self.sent.append((now, Message(timed.message.address, types, values)))
        return datagrams


def frame(index: int) -> Update:
    """Return the update of a frame; its score is between 0.6 and 1, and no other frame has it."""
    score = 0.6 + 0.39 * (index * 0.6180339887 % 1)
    return update(person(1, LABELS[index // RATE % len(LABELS)], score))


def run(seconds: float, pause: float) -> dict[str, Any]:
    """Send frames, and return the counts.

    Args:
        seconds: Length in seconds.
        pause: Time in seconds without a receiver of VRChat, after a third of the length; 0: none.
    """
    notes: list[str] = []
    vrchat, vmc = Recorder(VRChatEncoder(VRCHAT, "largest")), Recorder(VmcEncoder(VMC, "largest"))
    with ExitStack() as stack:
        avatar, program = OscDump(), stack.enter_context(OscDump())
        stack.callback(lambda: avatar.close())
        outputs: list[Output] = [
            OscOutput("VRChat", ("127.0.0.1", avatar.port), vrchat, 10, notes.append),
            OscOutput("VMC", ("127.0.0.1", program.port), vmc, 2 * RATE, notes.append),
        ]
        for output in outputs:
            output.open("soak")
        started = time.monotonic()
        received: list[Message] = []
        away, back, frames, slowest = math.inf, math.inf, 0, 0.0
        while (now := time.monotonic()) < started + seconds:
            before = time.perf_counter()
            for output in outputs:
                output.send(frame(frames))
            slowest = max(slowest, time.perf_counter() - before)
            frames += 1
            if pause and away == math.inf and now > started + seconds / 3:
                avatar.close()
                received, away = avatar.messages, now
            elif pause and back == math.inf and now > away + pause:
                avatar, back = OscDump(avatar.port), now
            time.sleep(max(started + frames / RATE - time.monotonic(), 0))
        for output in outputs:
            output.close()
        last = vmc.sent[-1][1], vrchat.sent[-1][1]
        wait_until(lambda: (program.messages[-1], avatar.messages[-1]) == last)
        received += avatar.messages
    absent = [message for moment, message in vrchat.sent if away - 0.2 < moment < back + 6]
    return {
        "seconds": round(seconds, 1),
        "frames": frames,
        "slowest send, us": round(1e6 * slowest),
        "VMC": compare([message for _, message in vmc.sent], program.messages)
        | compare_scores(program.messages, frames),
        "VRChat": compare([message for _, message in vrchat.sent], received, absent=len(absent) if pause else 0),
        "notes": notes,
    }


def compare(sent: Sequence[Message], received: Sequence[Message], absent: int = 0) -> dict[str, Any]:
    """Compare messages in their order, and return the counts.

    Args:
        sent: Messages that were sent.
        received: Messages that were received.
        absent: Largest number of messages that were sent while there was no receiver.
    """
    wrong = lost = 0
    remaining = iter(sent)
    for message in received:
        for expected in remaining:
            if is_equal(message, expected):
                break
            lost += 1
        else:
            wrong += 1
    lost += sum(1 for _ in remaining)
    return {"sent": len(sent), "received": len(received), "wrong": wrong, "lost": lost, "sent to nobody": absent}


def is_equal(message: Message, expected: Message) -> bool:
    """Return whether a message is another one, up to the digits that are printed."""
    return (message.address, message.types) == (expected.address, expected.types) and all(
        abs(value - other) <= PRECISION if isinstance(value, float) else value == other
        for value, other in zip(message.values, expected.values, strict=True)
    )


def compare_scores(received: Sequence[Message], frames: int) -> dict[str, int]:
    """Compare the bundles of VMC with the scores of the frames, in their order.

    Args:
        received: Messages of bundles: one for each label, and their application.
        frames: Number of frames.
    """
    size = len(LABELS) + 1
    index, wrong, shown = 0, 0, set[int]()
    for start in range(0, len(received) - 2 * size + 1, size):  # the last bundle is neutral
        values = [message.values[1] for message in received[start : start + len(LABELS)]]
        matches = (number for number in range(index, frames) if is_frame(values, number))
        number = next(matches, None)
        wrong += number is None
        if number is not None:
            index = number
            shown.add(number)
    return {"bundles": len(received) // size, "bundles of no frame": wrong, "frames shown": len(shown)}


def is_frame(values: Sequence[float], index: int) -> bool:
    """Return whether values are the scores of a frame."""
    scores = frame(index).people[0].expression.scores
    return all(abs(value - score) <= 2 * PRECISION for value, score in zip(values, scores.values(), strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return 0 if every message was received with right values."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--pause", type=float, default=PAUSE, help="seconds without a receiver of VRChat")
    options = parser.parse_args(arguments)
    report = run(60 * options.minutes, options.pause)
    print(json.dumps(report, indent=1))
    vmc, vrchat = report["VMC"], report["VRChat"]
    is_right = vmc["lost"] == vmc["wrong"] == vmc["bundles of no frame"] == vrchat["wrong"] == 0
    return 0 if is_right and vrchat["lost"] <= vrchat["sent to nobody"] else 1


if __name__ == "__main__":
    sys.exit(main())
