"""Loaded by a decoder's process in a test: reading obeys the names of files."""

import os
import signal
import time

import vidtldr.tasks.video_file
from vidtldr.video import decode, frames


def evil_reader(path, *_args, **_options):
    name = os.path.basename(path)
    if "crash" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "once" in name and not os.path.exists(f"{path}.mark"):
        with open(f"{path}.mark", "w"):
            os.kill(os.getpid(), signal.SIGKILL)
    if "hang" in name:
        time.sleep(1000)
    return decode.read_clip(path, *_args, **_options)


def evil_scan(path, stop):
    name = os.path.basename(path)
    if "large" in name:
        bytearray(2**33)
    if "strange" in name:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    return frames.scan_packets(path, stop)


vidtldr.tasks.video_file.read_clip = evil_reader
decode.scan_packets = evil_scan
