"""Small files in the formats as distributed, written without the code under test."""

import gzip
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np


def idx(array):
    """The bytes of an IDX file of unsigned bytes."""
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def mnist_arrays(n_train=7, n_test=3):
    rng = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": rng.integers(256, size=(n_train, 28, 28)),
        "train-labels-idx1-ubyte": rng.integers(10, size=n_train),
        "t10k-images-idx3-ubyte": rng.integers(256, size=(n_test, 28, 28)),
        "t10k-labels-idx1-ubyte": rng.integers(10, size=n_test),
    }


def write_mnist(folder: Path, zipped=False):
    folder.mkdir(parents=True, exist_ok=True)
    arrays = mnist_arrays()
    for name, array in arrays.items():
        content = idx(array)
        path = folder / (name + ".gz" if zipped else name)
        path.write_bytes(gzip.compress(content) if zipped else content)
    return arrays


def cifar_parts(n_classes, n_test=2):
    """[(pixels (n, 3072), labels (n,)), ...] for the training files and the test file."""
    rng = np.random.default_rng(n_classes)
    sizes = [n_test] * 6 if n_classes == 10 else [5 * n_test, n_test]
    return [
        (rng.integers(256, size=(n, 3072), dtype=np.uint8), rng.integers(n_classes, size=n))
        for n in sizes
    ]


def records(pixels, *labels):
    """The bytes of a binary file: label bytes, then pixels."""
    columns = [np.asarray(label, np.uint8)[:, None] for label in labels]
    return np.concatenate([*columns, pixels], axis=1).tobytes()


CIFAR_FOLDERS = {10: "cifar-10-batches-bin", 100: "cifar-100-binary"}
CIFAR_ARCHIVES = {10: "cifar-10-binary.tar.gz", 100: "cifar-100-binary.tar.gz"}


def cifar_names(n_classes):
    if n_classes == 10:
        return [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
    return ["train", "test"]


def cifar_files(n_classes):
    """{file name: bytes} of the binary version, as they lie in the folder."""
    files = {}
    for name, (pixels, labels) in zip(cifar_names(n_classes), cifar_parts(n_classes), strict=True):
        coarse = [] if n_classes == 10 else [labels // 5]
        files[f"{name}.bin"] = records(pixels, *coarse, labels)
    return files


def cifar_pickles(n_classes):
    """{file name: bytes} of the python version, as far as a converter reads it."""
    files = {}
    for name, (pixels, labels) in zip(cifar_names(n_classes), cifar_parts(n_classes), strict=True):
        numbers = [int(label) for label in labels]
        entries = {"data": pixels, "filenames": ["a_s_000001.png"]}
        entries |= {"labels": numbers} if n_classes == 10 else {"fine_labels": numbers}
        if n_classes == 100:
            entries["coarse_labels"] = [label // 5 for label in numbers]
        files[name] = pickle.dumps(entries, protocol=2)
    return files


def write_folder(folder: Path, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def write_tar(path: Path, folder: str, files, tar_format=tarfile.USTAR_FORMAT, extra=()):
    """An archive like the distributed ones: the folder first, then its files."""
    with tarfile.open(path, "w:gz", format=tar_format) as archive:
        directory = tarfile.TarInfo(folder)
        directory.type = tarfile.DIRTYPE
        archive.addfile(directory)
        for info in extra:
            archive.addfile(info)
        for name, content in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            info.mtime = 1.5
            archive.addfile(info, io.BytesIO(content))


def cifar_expected(n_classes):
    """((images, labels) of training, of test), images in (n, row, column, channel) by loops."""
    *train, test = cifar_parts(n_classes)

    def images(pixels):
        out = np.empty((len(pixels), 32, 32, 3), np.uint8)
        for n in range(len(pixels)):
            for channel in range(3):
                for row in range(32):
                    start = 1024 * channel + 32 * row
                    out[n, row, :, channel] = pixels[n, start : start + 32]
        return out

    train_images = np.concatenate([images(pixels) for pixels, _ in train])
    train_labels = np.concatenate([labels for _, labels in train])
    return (train_images, train_labels), (images(test[0]), test[1])
