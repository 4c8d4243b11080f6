"""Build the bundled data set ``emoji32`` from Google's emoji art.

    npm pack emoji-datasource-google@16.0.0
    python tools/build_emoji32.py emoji-datasource-google-16.0.0.tgz

Takes each emoji whose own Google PNG exists (``has_img_google``; the sheets of that package fill
gaps with art under other licences), composites it on white and resizes it to 32x32 (Lanczos).
All pictures go into one lossless WebP sheet, 48 to a row, with a JSON table beside it. The result
depends on the Pillow version only through its resampling; the hash of the pixels is printed.
"""

import argparse
import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

TARGET = Path(__file__).parents[1] / "src/clnf/streams/data/emoji32.webp"
ACROSS = 48


def build(archive: Path) -> tuple[np.ndarray, list[dict[str, str]]]:
    """Read the npm archive; return images [N, 32, 32, 3] uint8 and a table row for each."""
    with tarfile.open(archive) as tar:
        table = json.load(tar.extractfile("package/emoji.json"))
        rows = sorted((r for r in table if r["has_img_google"]), key=lambda r: r["sort_order"])
        images = np.empty((len(rows), 32, 32, 3), np.uint8)
        for index, row in enumerate(rows):
            png = tar.extractfile(f"package/img/google/64/{row['image']}").read()
            picture = Image.open(io.BytesIO(png)).convert("RGBA")
            paper = Image.new("RGBA", picture.size, "white")
            paper.alpha_composite(picture)
            images[index] = paper.convert("RGB").resize((32, 32), Image.Resampling.LANCZOS)
    names = [(r["name"] or r["short_name"]).lower() for r in rows]
    keys = ("category", "subcategory")
    return images, [
        {"name": n, **{k: r[k] for k in keys}, "codepoint": r["unified"]}
        for n, r in zip(names, rows, strict=True)
    ]


def sheet(images: np.ndarray) -> Image.Image:
    """Lay the images out in rows of 48, the rest of the last row white."""
    down = -(-len(images) // ACROSS)
    grid = np.full((down * ACROSS, 32, 32, 3), 255, np.uint8)
    grid[: len(images)] = images
    grid = grid.reshape(down, ACROSS, 32, 32, 3).transpose(0, 2, 1, 3, 4)
    return Image.fromarray(grid.reshape(down * 32, ACROSS * 32, 3))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    pictures, rows = build(parser.parse_args().archive)
    TARGET.parent.mkdir(exist_ok=True)
    sheet(pictures).save(TARGET, "WEBP", lossless=True, quality=100, method=6)
    TARGET.with_suffix(".json").write_text(json.dumps(rows, indent=0, ensure_ascii=False) + "\n")
    print(f"{len(pictures)} images, {TARGET.stat().st_size / 1e6:.2f} MB, sha256 of pixels")
    print(hashlib.sha256(pictures.tobytes()).hexdigest())
