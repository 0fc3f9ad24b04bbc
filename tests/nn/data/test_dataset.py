"""Data sets: arrays from anywhere, nothing but finite numbers, one fingerprint for one content."""

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
    with pytest.raises(DataError, match=r"test targets have shape \(2,\) but training targets"):
        Dataset("x", split(labels=np.ones(3)), split(labels=np.ones((3, 2))), None)


@pytest.mark.parametrize(("label", "found"), [(-1, "-1"), (3, "3")])
def test_labels_within_the_classes(label, found):
    wrong = split(labels=np.array([0, 1, label]))
    with pytest.raises(DataError, match=f"test label is {found}, outside"):
        Dataset("x", split(), wrong, 3)


def test_classes_and_regressions_are_not_confused():
    with pytest.raises(DataError, match="training labels are not integers"):
        Dataset("x", split(labels=np.ones(3)), split(), 3)
    with pytest.raises(DataError, match="targets are integers; give n_classes"):
        Dataset("x", split(), split(), None)
    with pytest.raises(DataError, match=r"one integer for each example, not an array of shape"):
        split(labels=np.ones((3, 2), int))
    with pytest.raises(DataError, match=r"array \(n,\) or \(n, k\), not one of shape"):
        split(labels=np.ones((3, 2, 2)))


def test_to_float_scales_bytes_only():
    levels = to_float(np.arange(256, dtype=np.uint8))
    assert levels.dtype == np.float32
    np.testing.assert_allclose(levels, np.arange(256) / 255, rtol=2e-7)
    kept = np.array([-3.0, 200.0], dtype=np.float32)
    assert to_float(kept) is kept
    assert to_float(np.array([1.5])).dtype == np.float32


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e39])
def test_nan_and_infinities_are_refused_with_their_place(wrong):
    """1e39 is infinite in single precision, in which networks compute."""
    x = np.zeros((5, 4))
    x[3, 1] = wrong
    with pytest.raises(DataError, match=r"examples must be finite .* number 3 .*(nan|inf|1e\+39)"):
        Split(x, np.arange(5))
    with pytest.raises(DataError, match="targets must be finite"):
        Split(np.zeros((5, 4)), x[:, 1])


@pytest.mark.parametrize("wrong", [["a", "b"], [[1.0], [2.0, 3.0]], np.ones(2, bool), [None, 1.0]])
def test_what_is_no_number_is_refused(wrong):
    with pytest.raises(DataError, match="the array of examples"):
        Split(wrong, [0, 1])


def test_arrays_are_kept_read_only_and_the_callers_own_is_left_alone():
    x = np.ones((2, 3), np.float32)
    made = Split(x, [0, 1])
    assert np.shares_memory(made.images, x)
    with pytest.raises(ValueError, match="read-only"):
        made.images[0, 0] = 2
    x[0, 0] = 3


def test_from_arrays_counts_classes_and_makes_a_name():
    x, y = np.eye(4, dtype=np.uint8), np.array([2, 0, 1, 1], np.uint8)
    data = Dataset.from_arrays(x[:2], y[:2], x[2:], y[2:])
    assert (data.n_classes, data.n_outputs) == (3, 3)
    assert data.name == f"data {data.fingerprint()[:8]}"
    assert data.train.images.dtype == np.uint8 and data.train.labels.dtype == np.int64
    assert Dataset.from_arrays(x, y, x, y, n_classes=7).n_outputs == 7
    regression = Dataset.from_arrays(x, y / 2, x, y / 2, name="halves")
    assert (regression.n_classes, regression.n_outputs, regression.name) == (None, 1, "halves")


def test_data_frames_sparse_matrices_and_arrow_columns_are_arrays():
    pandas = pytest.importorskip("pandas")
    from scipy import sparse

    x, y = np.arange(12.0).reshape(4, 3), np.array([0, 2, 1, 1])
    frame = pandas.DataFrame(x)
    nullable = frame.convert_dtypes()
    labels = pandas.Series(y, dtype="Int64")
    expected = Dataset.from_arrays(x, y, x, y)
    kinds = [(frame, labels), (nullable, labels), (sparse.csr_array(x), labels)]
    if pandas.compat._optional.import_optional_dependency("pyarrow", errors="ignore"):
        kinds.append(
            (frame.convert_dtypes(dtype_backend="pyarrow"), labels.astype("int64[pyarrow]"))
        )
    kinds.append((x.tolist(), pandas.DataFrame({"label": y})))
    for examples, targets in kinds:
        data = Dataset.from_arrays(examples, targets, examples, targets)
        assert data.fingerprint() == expected.fingerprint()
    nullable.iloc[1, 1] = pandas.NA
    with pytest.raises(DataError, match=r"missing|finite"):
        Split(nullable, labels)


@pytest.mark.peer
def test_torch_tensors_are_arrays():
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    x = torch.arange(12.0, requires_grad=True).reshape(4, 3)
    made = Split(x, torch.tensor([0, 1, 2, 0]))
    np.testing.assert_array_equal(made.images, np.arange(12).reshape(4, 3))
    assert made.labels.dtype == np.int64


def test_the_fingerprint_sees_every_example_and_label():
    rng = np.random.default_rng(0)
    x, y = rng.random((6, 2)), np.array([0, 1, 0, 1, 0, 1])
    first = Dataset.from_arrays(x[:4], y[:4], x[4:], y[4:], name="a")
    renamed = Dataset.from_arrays(x[:4], y[:4], x[4:], y[4:], name="b")
    assert first.fingerprint() == renamed.fingerprint()
    seen = {first.fingerprint()}
    for k in range(6):
        moved, flipped = x.copy(), y.copy()
        moved[k, 1] += 1e-6
        flipped[k] ^= 1
        for changed in ((moved, y), (x, flipped)):
            a, b = changed
            seen.add(Dataset.from_arrays(a[:4], b[:4], a[4:], b[4:]).fingerprint())
    assert len(seen) == 13
    assert first.record() == {
        "name": "a", "fingerprint": first.fingerprint(), "train": 4, "test": 2, "shape": [2]
    }  # fmt: skip
    images = Dataset.from_arrays(x[:4, None, :, None], y[:4], x[4:, None, :, None], y[4:])
    assert images.fingerprint() == images.as_vectors().fingerprint() == first.fingerprint()
