import numpy as np
import pytest

from qpsim.errors import DataError
from qpsim.nn.data import Dataset, Split, to_float


def split(n=3, shape=(4,), labels=None):
    return Split(np.zeros((n, *shape), np.float32), np.arange(n) if labels is None else labels)


def test_one_label_an_image():
    with pytest.raises(DataError, match="3 images but 2 labels"):
        split(labels=np.arange(2))


def test_no_example():
    with pytest.raises(DataError, match="no example"):
        split(n=0)


def test_shapes_agree():
    with pytest.raises(DataError, match=r"shape \(5,\) but training examples \(4,\)"):
        Dataset("x", split(), split(shape=(5,)), 3)


@pytest.mark.parametrize(("label", "found"), [(-1, "-1"), (3, "3")])
def test_labels_within_the_classes(label, found):
    wrong = split(labels=np.array([0, 1, label]))
    with pytest.raises(DataError, match=f"test label is {found}, outside"):
        Dataset("x", split(), wrong, 3)


def test_to_float_scales_bytes_only():
    levels = to_float(np.arange(256, dtype=np.uint8))
    assert levels.dtype == np.float32
    np.testing.assert_allclose(levels, np.arange(256) / 255, rtol=2e-7)
    kept = np.array([-3.0, 200.0], dtype=np.float32)
    assert to_float(kept) is kept
    assert to_float(np.array([1.5])).dtype == np.float32
