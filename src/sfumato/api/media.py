"""Pixels to files: png, jpeg or webp for an image, an mp4 that plays in a browser for a video.

Blocking: call in a thread. H.264 in yuv420p with the index in front is what every browser plays. The colours are
written as BT.709 and marked so: unmarked, players guess by the height, and the tones shift.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sfumato.runtime.service import Pixels

IMAGE_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
QUALITY = {"jpeg": 92, "webp": 90}
BT709 = 1


def encode_image(pixels: Pixels, image_format: str, compression: int | None = None) -> bytes:
    """The first frame of `pixels`. `compression` is what clients call the quality of jpeg and webp, 0 to 100."""
    from PIL import Image

    options: dict[str, Any] = {"compress_level": 4}  # of 1024x1024: 0.67 s, level 6 1.07 s, with equal bytes
    if image_format != "png":
        options = {"quality": QUALITY[image_format] if compression is None else max(1, compression)}
    file = BytesIO()
    Image.fromarray(pixels[0]).save(file, format=image_format, **options)
    return file.getvalue()


def encode_thumbnail(pixels: Pixels) -> bytes:
    """The middle frame as webp."""
    middle = len(pixels) // 2
    return encode_image(pixels[middle : middle + 1], "webp")


def encode_video(pixels: Pixels, fps: int) -> bytes:
    """An mp4 with all frames of `pixels`, whose width and height must be even."""
    import av

    # The index can be moved to the front only in a file that the muxer can open again.
    with TemporaryDirectory(prefix="sfumato-") as folder:
        path = Path(folder) / "video.mp4"
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = _stream(container, pixels, fps)
            for frame in pixels:
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                container.mux(stream.encode(picture.reformat(format="yuv420p", dst_colorspace=BT709)))
            container.mux(stream.encode())
        return path.read_bytes()


def _stream(container: Any, pixels: Pixels, fps: int) -> Any:
    stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "16"})
    stream.height, stream.width = pixels.shape[1:3]
    stream.pix_fmt = "yuv420p"
    codec = stream.codec_context
    codec.thread_count = 2  # the cores belong to the workers
    codec.colorspace = codec.color_primaries = codec.color_trc = BT709
    codec.color_range = 1  # limited, which is what yuv420p means to a player
    return stream
