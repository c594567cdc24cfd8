"""Change the timestamps of the frames of an .mp4 file, which OpenCV writes at a constant rate only."""

from __future__ import annotations

import struct
from pathlib import Path

CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def set_durations(path: Path, durations_ms: list[int]) -> None:
    """Set how long each frame of the video is shown. The file needs its index (moov) behind its frames (mdat)."""
    content = path.read_bytes()
    assert content.index(b"mdat") < content.index(b"moov")
    path.write_bytes(_rewrite(content, durations_ms))


def _rewrite(content: bytes, durations_ms: list[int]) -> bytes:
    result, at = b"", 0
    while at < len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        body = content[at + 8 : at + size]
        if kind in CONTAINERS:
            body = _rewrite(body, durations_ms)
        elif kind == b"mdhd":  # ticks of 1 ms
            body = body[:12] + struct.pack(">II", 1000, sum(durations_ms)) + body[20:]
        elif kind == b"edts":  # a list of edits would cut the end off
            kind = b"free"
        elif kind == b"stts":
            entries = b"".join(struct.pack(">II", 1, duration) for duration in durations_ms)
            body = struct.pack(">II", 0, len(durations_ms)) + entries
        result += struct.pack(">I4s", len(body) + 8, kind) + body
        at += size
    return result
