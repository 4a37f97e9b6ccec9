"""Every kind of picture that must load, and every hostile file that must be refused with one sentence."""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from fsr.errors import InvalidInput
from fsr.media.pictures import load_image


def scene(width: int = 48, height: int = 32) -> Image.Image:
    """A picture whose four corners differ, so that every turn shows."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (250, 10, 10)
    pixels[: height // 2, width // 2 :] = (10, 250, 10)
    pixels[height // 2 :, : width // 2] = (10, 10, 250)
    return Image.fromarray(pixels)


def saved(path, image: Image.Image, **options):
    image.save(path, **options)
    return path


def png_header(width: int, height: int, bits: int = 8, color: int = 2) -> bytes:
    """The beginning of a PNG of width x height pixels."""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def promise(width: int, height: int) -> bytes:
    """A PNG that promises width x height pixels and holds almost none."""
    return png_header(width, height) + chunk(b"IDAT", zlib.compress(b"\0" * 20))


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.jpg"])
def test_the_three_formats_load(tmp_path, name):
    loaded = load_image(saved(tmp_path / name, scene(), **({"lossless": True} if name == "a.webp" else {})))
    assert loaded.mode == "RGB"
    assert loaded.size == (48, 32)
    difference = np.abs(np.asarray(loaded).astype(int) - np.asarray(scene()).astype(int))
    assert difference.mean() < (8 if name == "a.jpg" else 1e-9)


def test_the_name_does_not_matter_only_the_content(tmp_path):
    assert load_image(saved(tmp_path / "a.txt", scene(), format="PNG")).size == (48, 32)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once_and_then_forgotten(tmp_path, orientation):
    image = scene()
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", image, exif=exif)
    upright = load_image(path)
    with Image.open(path) as reference:
        assert np.array_equal(np.asarray(upright), np.asarray(ImageOps.exif_transpose(reference)))
    assert not dict(upright.getexif())


def test_a_rotated_jpeg_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert load_image(saved(tmp_path / "a.jpg", scene(), exif=exif)).size == (32, 48)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_refuse_the_picture(tmp_path):
    path = saved(tmp_path / "a.jpg", scene(), exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7fgarbage")
    assert load_image(path).size == (48, 32)


def test_transparency_lies_on_white(tmp_path):
    clear = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    clear.paste((0, 0, 200, 255), (0, 0, 4, 8))
    pixels = np.asarray(load_image(saved(tmp_path / "a.png", clear)))
    assert pixels[0, 7].tolist() == [255, 255, 255]
    assert pixels[0, 0].tolist() == [0, 0, 200]


@pytest.mark.parametrize("mode", ["P", "LA", "L", "1"])
def test_other_modes_become_rgb(tmp_path, mode):
    loaded = load_image(saved(tmp_path / "a.png", scene().convert(mode)))
    assert (loaded.mode, loaded.size) == ("RGB", (48, 32))


def test_a_palette_with_a_transparent_colour_lies_on_white(tmp_path):
    path = saved(tmp_path / "a.png", scene().convert("P", palette=Image.Palette.ADAPTIVE), transparency=0)
    assert (np.asarray(load_image(path)) == 255).all(axis=2).any()


def test_cmyk_becomes_rgb(tmp_path):
    loaded = load_image(saved(tmp_path / "a.jpg", scene().convert("CMYK")))
    assert np.asarray(loaded)[4, 4].tolist() == pytest.approx([250, 10, 10], abs=40)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(16, 0)
    row = np.asarray(load_image(saved(tmp_path / "a.png", Image.fromarray(ramp))))[0, :, 0]
    assert np.abs(row.astype(int) - np.arange(256)).max() <= 1


def test_a_phone_jpeg_with_a_second_view_loads_its_first(tmp_path):
    second = Image.new("RGB", (20, 20), "white")
    path = saved(tmp_path / "a.jpg", scene(), format="MPO", save_all=True, append_images=[second])
    assert load_image(path).size == (48, 32)


def test_large_pictures_are_scaled_down_in_proportion(tmp_path):
    for name in ("a.jpg", "a.png"):
        assert load_image(saved(tmp_path / name, scene(3000, 2000))).size == (2048, 1365)
    assert load_image(tmp_path / "a.png", max_side=None).size == (3000, 2000)


def test_a_jpeg_that_was_half_decoded_still_turns(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    assert load_image(saved(tmp_path / "a.jpg", scene(5000, 3000), exif=exif)).size == (1229, 2048)


def animated(path, **options):
    frames = [scene(), ImageOps.mirror(scene())]
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    return path


def write(path, data: bytes):
    path.write_bytes(data)
    return path


def cut(path, image: Image.Image, share: float = 0.6, **options):
    """A file that ends too early."""
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return write(path, buffer.getvalue()[: int(len(buffer.getvalue()) * share)])


def noise(width=200, height=150) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8))


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'
HOSTILE = {
    "no bytes": (lambda p: write(p / "a.png", b""), "empty"),
    "text named png": (lambda p: write(p / "a.png", b"not a picture at all\n" * 40), "not a JPEG, PNG or WebP"),
    "svg": (lambda p: write(p / "a.svg", SVG), "not a JPEG, PNG or WebP"),
    "svg named jpg": (lambda p: write(p / "a.jpg", SVG), "not a JPEG, PNG or WebP"),
    "gif": (lambda p: saved(p / "a.gif", scene()), "not a JPEG, PNG or WebP"),
    "gif named png": (lambda p: saved(p / "a.png", scene(), format="GIF"), "not a JPEG, PNG or WebP"),
    "bmp": (lambda p: saved(p / "a.bmp", scene()), "not a JPEG, PNG or WebP"),
    "tiff": (lambda p: saved(p / "a.tiff", scene()), "not a JPEG, PNG or WebP"),
    "pdf": (lambda p: write(p / "a.pdf", b"%PDF-1.4\n%%EOF"), "not a JPEG, PNG or WebP"),
    "eps named jpg": (lambda p: write(p / "a.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n"), "not a JPEG, PNG or WebP"),
    "header alone": (lambda p: write(p / "a.png", promise(10, 10)), "damaged or cut off"),
    "cut png": (lambda p: cut(p / "a.png", noise(), format="PNG"), "damaged or cut off"),
    "cut jpeg": (lambda p: cut(p / "a.jpg", noise(), format="JPEG"), "damaged or cut off"),
    "cut webp": (lambda p: cut(p / "a.webp", noise(), format="WEBP"), "damaged|not a JPEG, PNG or WebP"),
    "broken checksum": (lambda p: write(p / "a.png", flipped(noise())), "damaged|not a JPEG, PNG or WebP"),
    "huge header": (lambda p: write(p / "a.png", promise(60000, 60000)), "pixels"),
    "largest header": (lambda p: write(p / "a.png", promise(2**31 - 1, 2**31 - 1)), "pixels"),
    "zero header": (lambda p: write(p / "a.png", promise(0, 10)), "pixels|not a JPEG|damaged"),
    "a line": (lambda p: saved(p / "a.png", Image.new("RGB", (4000, 1))), "at most 30 : 1"),
    "animated webp": (lambda p: animated(p / "a.webp"), "animated"),
    "animated png": (lambda p: animated(p / "a.png"), "animated"),
    "missing": (lambda p: p / "nothing.png", "no picture file 'nothing.png'"),
    "directory": (lambda p: p, "no picture file"),
    "device": (lambda p: "/dev/zero", "no picture file"),
}


def flipped(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_with_one_sentence(tmp_path, name):
    make, sentence = HOSTILE[name]
    with pytest.raises(InvalidInput, match=sentence) as caught:
        load_image(make(tmp_path))
    assert str(caught.value).count("\n") == 0
    assert str(tmp_path) not in str(caught.value)


def bomb(path, side: int = 20_000):
    """A valid PNG of a few hundred kilobytes that unpacks to 400 million pixels."""
    rows = zlib.compressobj(9)
    line = b"\x00" * (side // 8 + 1)
    packed = b"".join(rows.compress(line) for _ in range(side)) + rows.flush()
    return write(path, png_header(side, side, 1, 0) + chunk(b"IDAT", packed) + chunk(b"IEND", b""))


@pytest.mark.filterwarnings("ignore:Image size")
def test_a_bomb_is_refused_from_its_header_before_anything_is_unpacked(tmp_path, monkeypatch):
    path = bomb(tmp_path / "bomb.png")
    assert os.path.getsize(path) < 500_000
    decoded = []
    monkeypatch.setattr(Image.Image, "load", lambda self: decoded.append(self.size))
    with pytest.raises(InvalidInput, match="pixels"):
        load_image(path)
    with pytest.raises(InvalidInput, match="13000 x 13000 pixels; at most 32 million"):
        load_image(bomb(tmp_path / "smaller.png", 13_000))
    assert not decoded


def test_a_text_bomb_in_metadata_is_not_unpacked(tmp_path):
    buffer = io.BytesIO()
    scene().save(buffer, "PNG")
    data = buffer.getvalue()
    text = chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(b"A" * 200_000_000, 9))
    with pytest.raises(InvalidInput):
        load_image(write(tmp_path / "a.png", data[:33] + text + data[33:]))


def test_the_byte_limit_counts_bytes_not_promises(tmp_path):
    path = saved(tmp_path / "a.png", noise())
    with pytest.raises(InvalidInput, match=r"larger than 0\.001 MB"):
        load_image(path, max_bytes=1000)
    assert load_image(path, max_bytes=os.path.getsize(path)).size == (200, 150)


def test_the_pixel_limit_is_exact(tmp_path):
    path = saved(tmp_path / "a.png", scene())
    assert load_image(path, max_pixels=48 * 32).size == (48, 32)
    with pytest.raises(InvalidInput, match="48 x 32 pixels"):
        load_image(path, max_pixels=48 * 32 - 1)


def test_a_named_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    refused = []

    def read():
        with pytest.raises(InvalidInput):
            load_image(tmp_path / "pipe.png")
        refused.append(True)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(5)
    assert refused


def test_pillow_settings_are_left_alone(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    load_image(saved(tmp_path / "a.png", scene()))
    assert before == Image.MAX_IMAGE_PIXELS
