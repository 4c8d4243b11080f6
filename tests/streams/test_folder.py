"""A user's folder: good pictures come in, bad ones are refused with a reason."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clnf.core.errors import ConfigError, DataError
from clnf.streams.folder import FolderParams, FolderSource, read_folder, read_picture


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth random picture."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def reasons(source: FolderSource) -> dict[str, str]:
    return {refusal.file: refusal.reason for refusal in source.refused}


def png_header(width: int, height: int) -> bytes:
    """A tiny file that claims to be a large picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def test_formats_and_shapes_become_32x32_in_name_order(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    photo(100, 60).save(tmp_path / "b.png")
    photo(61, 300).save(tmp_path / "a.JPG", format="JPEG")
    photo(33, 33).save(tmp_path / "sub" / "c.webp")
    seen: list[tuple[int, int]] = []
    source = read_folder(tmp_path, cond=4, progress=lambda done, total: seen.append((done, total)))
    assert source.files == ("a.JPG", "b.png", "sub/c.webp")
    assert source.refused == ()
    assert source.images.shape == (3, 32, 32, 3)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    batch = source.take(torch.tensor([2, 0]))
    assert batch.x.shape == (2, 3, 32, 32)
    assert batch.cond.tolist() == [4, 4]
    assert float(batch.x.abs().max()) <= 1.0


def test_the_central_square_is_kept(tmp_path: Path) -> None:
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 40:80] = (0, 200, 0)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    image = read_folder(tmp_path, cond=0).images[0]
    assert (image[:, 2:-2] == (0, 200, 0)).all()


def test_transparent_pictures_are_put_on_white(tmp_path: Path) -> None:
    clear = np.zeros((32, 32, 4), np.uint8)
    clear[8:24, 8:24] = (255, 0, 0, 255)
    Image.fromarray(clear).save(tmp_path / "a.png")
    Image.fromarray(clear).quantize(8).save(tmp_path / "b.png")
    for image in read_folder(tmp_path, cond=0).images:
        assert image[0, 0].tolist() == [255, 255, 255]
        assert image[16, 16].tolist() == [255, 0, 0]


def test_exif_orientation_is_followed(tmp_path: Path) -> None:
    half = np.zeros((64, 64, 3), np.uint8)
    half[:32] = 255
    plain = Image.fromarray(half)
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down
    plain.save(tmp_path / "a.jpg", quality=95)
    plain.save(tmp_path / "b.jpg", quality=95, exif=turned)
    upright, upside_down = read_folder(tmp_path, cond=0).images
    assert upright[2].mean() > 240 > 15 > upright[-3].mean()
    assert upside_down[2].mean() < 15 < 240 < upside_down[-3].mean()


def test_sixteen_bit_grey_keeps_its_shades(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(64, 0)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    row = read_folder(tmp_path, cond=0).images[0, 16, :, 0].astype(int)
    assert row[0] < 10
    assert row[-1] > 245
    assert 110 < row[16] < 145


def test_large_jpeg_drafts_to_nearly_the_same_picture(tmp_path: Path) -> None:
    large = photo(2000, 1500)
    large.save(tmp_path / "a.jpg", quality=95)
    large.save(tmp_path / "b.png")
    jpeg, png = read_folder(tmp_path, cond=0).images.astype(int)
    assert np.abs(jpeg - png).mean() < 3.0


def test_bad_files_are_refused_one_by_one_with_reasons(tmp_path: Path) -> None:
    photo(64, 64).save(tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("this is not a picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("notes")
    photo(1, 1).save(tmp_path / "dot.png")
    photo(7, 500).save(tmp_path / "thin.png")
    (tmp_path / "huge.png").write_bytes(png_header(8000, 5000))
    (tmp_path / "bomb.png").write_bytes(png_header(60000, 60000))
    photo(64, 64).save(tmp_path / "gif.png", format="GIF")
    (tmp_path / ".hidden.png").write_text("passed over")
    source = read_folder(tmp_path, cond=0)
    why = reasons(source)
    assert source.files == ("good.png",)
    assert set(why) == {
        "bomb.png",
        "cut.png",
        "dot.png",
        "empty.jpg",
        "gif.png",
        "huge.png",
        "notes.txt",
        "text.png",
        "thin.png",
    }
    assert "40.0 megapixels, the limit is 32" in why["huge.png"]
    assert "megapixels" in why["bomb.png"]
    assert "1x1 is too small" in why["dot.png"]
    assert "too small" in why["thin.png"]
    assert "not a PNG, JPEG or WebP" in why["text.png"]
    assert "not a PNG, JPEG or WebP" in why["gif.png"]
    assert "damaged" in why["cut.png"]
    assert "does not end in" in why["notes.txt"]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_a_file_cut_anywhere_never_stops_the_rest(tmp_path: Path, suffix: str) -> None:
    photo(48, 48).save(tmp_path / f"good.{suffix}")
    whole = (tmp_path / f"good.{suffix}").read_bytes()
    for cut in range(0, len(whole) - 12, max(1, len(whole) // 20)):
        (tmp_path / f"cut{cut:05}.{suffix}").write_bytes(whole[:cut])
    source = read_folder(tmp_path, cond=0)
    assert source.files == (f"good.{suffix}",)
    assert len(source.refused) >= 20


def test_links_out_of_the_folder_are_refused_and_links_inside_are_not(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    photo(40, 40).save(outside / "secret.png")
    photo(40, 40).save(inside / "a.png")
    (inside / "b.png").symlink_to(inside / "a.png")
    (inside / "c.png").symlink_to(outside / "secret.png")
    (inside / "d").symlink_to(outside, target_is_directory=True)
    (inside / "e.png").symlink_to(inside / "missing.png")
    source = read_folder(inside, cond=0)
    assert source.files == ("a.png", "b.png")
    why = reasons(source)
    assert "leads out" in why["c.png"]
    assert "leads out" in why["d"]
    assert "damaged or unreadable" in why["e.png"]


def test_a_pipe_with_a_picture_name_does_not_block(tmp_path: Path) -> None:
    photo(40, 40).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    assert "not an ordinary file" in reasons(read_folder(tmp_path, cond=0))["b.png"]


def test_odd_names_are_spelled_out(tmp_path: Path) -> None:
    photo(40, 40).save(tmp_path / "line\nbreak é.png")
    assert read_folder(tmp_path, cond=0).files == ("line\\nbreak é.png",)


def test_missing_empty_and_useless_folders_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        read_folder(tmp_path / "nowhere", cond=0)
    with pytest.raises(DataError, match="is empty"):
        read_folder(tmp_path, cond=0)
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(DataError, match=r"no picture .* 1 refused, the first is a.png"):
        read_folder(tmp_path, cond=0)
    with pytest.raises(DataError, match="is not a folder"):
        read_folder(tmp_path / "a.png", cond=0)


def test_limits_can_be_set_and_are_checked(tmp_path: Path) -> None:
    photo(64, 64).save(tmp_path / "a.png")
    assert read_folder(tmp_path, cond=0, params=FolderParams(side_px=16)).images.shape[1] == 16
    for params in (
        FolderParams(max_pixels=4095),
        FolderParams(min_side_px=65),
        FolderParams(max_bytes=10),
    ):
        with pytest.raises(DataError, match="no picture"):
            read_folder(tmp_path, cond=0, params=params)
    with pytest.raises(ConfigError):
        FolderParams(side_px=0)


def test_a_single_picture_of_the_finished_size_comes_unchanged(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_picture(tmp_path / "a.png"), pixels)
    with pytest.raises(DataError, match="there is no file"):
        read_picture(tmp_path / "b.png")
    (tmp_path / "b.png").write_text("text")
    with pytest.raises(DataError, match=r"b.png cannot be used: not a PNG"):
        read_picture(tmp_path / "b.png")
