"""Names of topics, and their QoS."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

FACES = "/humans/faces"  # namespace of faces in REP-155; topics of a face are below FACES/ID
TRACKED = f"{FACES}/tracked"
DIAGNOSTICS = "/diagnostics"


def newest(reliability: ReliabilityPolicy) -> QoSProfile:
    """Return the QoS of topics of which only the newest message is of interest."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=1, reliability=reliability, durability=DurabilityPolicy.VOLATILE
    )


INPUT_QOS = newest(ReliabilityPolicy.BEST_EFFORT)  # compatible with reliable and best-effort publishers
OUTPUT_QOS = newest(ReliabilityPolicy.RELIABLE)  # compatible with reliable and best-effort subscriptions
