"""Structs and numbers of Video4Linux2 are those of the kernel's own header."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_wm.sensors import v4l2_interface as v4l2

HEADER = Path("/usr/include/linux/videodev2.h")
STRUCTS = {
    "v4l2_capability": (v4l2.Capability, ("driver", "card", "device_caps")),
    "v4l2_format": (v4l2.Format, ("type", "fmt")),
    "v4l2_pix_format": (
        v4l2.PixelFormat,
        (
            *("width", "height", "pixelformat", "field", "bytesperline"),
            *("sizeimage", "colorspace", "ycbcr_enc", "quantization"),
        ),
    ),
    "v4l2_fmtdesc": (v4l2.FormatDescription, ("index", "type", "pixelformat")),
    "v4l2_requestbuffers": (v4l2.RequestBuffers, ("count", "type", "memory")),
    "v4l2_buffer": (
        v4l2.Buffer,
        ("index", "type", "bytesused", "flags", "field", "sequence", "memory", "length"),
    ),
    "v4l2_streamparm": (v4l2.StreamParameters, ("type",)),
}
MEMBERS = {
    # members that have another name there, or are deeper in it
    ("v4l2_buffer", "timestamp.tv_sec"): (v4l2.Buffer, "seconds"),
    ("v4l2_buffer", "timestamp.tv_usec"): (v4l2.Buffer, "microseconds"),
    ("v4l2_buffer", "m.offset"): (v4l2.Buffer, "offset"),
    ("v4l2_streamparm", "parm.capture.capability"): (v4l2.StreamParameters, "capability"),
    ("v4l2_streamparm", "parm.capture.timeperframe"): (v4l2.StreamParameters, "timeperframe"),
}
NUMBERS = {
    "VIDIOC_QUERYCAP": v4l2.QUERYCAP,
    "VIDIOC_ENUM_FMT": v4l2.ENUM_FMT,
    "VIDIOC_S_FMT": v4l2.S_FMT,
    "VIDIOC_REQBUFS": v4l2.REQBUFS,
    "VIDIOC_QUERYBUF": v4l2.QUERYBUF,
    "VIDIOC_QBUF": v4l2.QBUF,
    "VIDIOC_DQBUF": v4l2.DQBUF,
    "VIDIOC_STREAMON": v4l2.STREAMON,
    "VIDIOC_STREAMOFF": v4l2.STREAMOFF,
    "VIDIOC_S_PARM": v4l2.S_PARM,
    "V4L2_CAP_VIDEO_CAPTURE": v4l2.CAP_VIDEO_CAPTURE,
    "V4L2_CAP_STREAMING": v4l2.CAP_STREAMING,
    "V4L2_BUF_TYPE_VIDEO_CAPTURE": v4l2.BUF_TYPE_VIDEO_CAPTURE,
    "V4L2_MEMORY_MMAP": v4l2.MEMORY_MMAP,
    "V4L2_BUF_FLAG_ERROR": v4l2.BUF_FLAG_ERROR,
    "V4L2_BUF_FLAG_TIMESTAMP_MASK": v4l2.BUF_FLAG_TIMESTAMP_MASK,
    "V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC": v4l2.BUF_FLAG_TIMESTAMP_MONOTONIC,
    "V4L2_FIELD_NONE": v4l2.FIELD_NONE,
    "V4L2_COLORSPACE_REC709": v4l2.COLORSPACE_REC709,
    "V4L2_COLORSPACE_JPEG": v4l2.COLORSPACE_JPEG,
    "V4L2_YCBCR_ENC_DEFAULT": v4l2.YCBCR_ENC_DEFAULT,
    "V4L2_YCBCR_ENC_709": v4l2.YCBCR_ENC_709,
    "V4L2_QUANTIZATION_DEFAULT": v4l2.QUANTIZATION_DEFAULT,
    "V4L2_QUANTIZATION_FULL_RANGE": v4l2.QUANTIZATION_FULL_RANGE,
    "V4L2_PIX_FMT_YUYV": v4l2.fourcc("YUYV"),
    "V4L2_PIX_FMT_RGB24": v4l2.fourcc("RGB3"),
    "V4L2_PIX_FMT_BGR24": v4l2.fourcc("BGR3"),
    "V4L2_PIX_FMT_NV12": v4l2.fourcc("NV12"),
    "V4L2_PIX_FMT_MJPEG": v4l2.fourcc("MJPG"),
    "V4L2_PIX_FMT_JPEG": v4l2.fourcc("JPEG"),
    "V4L2_PIX_FMT_GREY": v4l2.fourcc("GREY"),
}


def ours() -> dict[str, int]:
    found = dict(NUMBERS)
    for name, (struct, members) in STRUCTS.items():
        found[f"sizeof(struct {name})"] = ctypes.sizeof(struct)
        for member in members:
            found[f"offsetof(struct {name}, {member})"] = getattr(struct, member).offset
    for (name, member), (struct, own) in MEMBERS.items():
        found[f"offsetof(struct {name}, {member})"] = getattr(struct, own).offset
    return found


def test_structs_and_numbers_are_those_of_the_header(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None or not HEADER.is_file():
        pytest.skip("no C compiler or no kernel header: run  sudo apt install gcc libc6-dev linux-libc-dev")
    wanted = ours()
    lines = "\n".join(f'printf("%lu\\n", (unsigned long)({expression}));' for expression in wanted)
    program = tmp_path / "numbers.c"
    program.write_text(
        "#include <stddef.h>\n#include <stdio.h>\n#include <linux/videodev2.h>\n"
        f"int main(void) {{\n{lines}\nreturn 0; }}\n"
    )
    subprocess.run([compiler, str(program), "-o", str(tmp_path / "numbers")], check=True)
    printed = subprocess.run([tmp_path / "numbers"], check=True, capture_output=True, text=True).stdout
    assert wanted == dict(zip(wanted, map(int, printed.split()), strict=True))
