"""Checks return one standard type or raise the given error with a one-line message, for any value."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas
import polars
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

import qpsim
from qpsim import checks
from qpsim.errors import ProblemError

HUGE = 10**5000
NOT_NUMBERS = [
    None,
    "1",
    b"1",
    True,
    np.True_,
    1j,
    [1.0],
    np.array([1.0]),
    math.nan,
    Decimal(1),
    HUGE,
]


class Tensor:
    """What checks know of a PyTorch tensor: it must be detached before NumPy may have it."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")

    def detach(self):
        return self

    def cpu(self):
        return self.values


@pytest.mark.parametrize("value", [3, 3.0, np.float32(3), np.int8(3), np.array(3), Fraction(3)])
def test_one_number_whatever_its_class(value):
    found = checks.number("x", value, ProblemError, "[0, 3]")
    assert type(found) is float and found == 3.0


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=lambda value: type(value).__name__)
def test_no_number_is_refused_in_one_line(value):
    with pytest.raises(ProblemError, match=r"^x must be a finite number, not .+[.]$") as error:
        checks.number("x", value, ProblemError)
    assert len(str(error.value)) < 120 and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[0, 1]", [0, 1, 0.5], [-1e-9, 1.0000001]),
        ("(0, 1)", [0.5], [0, 1]),
        ("[0, inf)", [0, 1e300], [-1]),
        ("(0, inf)", [1e-300], [0, -0.0]),
    ],
)
def test_the_ends_of_an_interval(interval, inside, outside):
    for value in inside:
        assert checks.number("x", value, ProblemError, interval) == value
    for value in outside:
        with pytest.raises(ProblemError):
            checks.number("x", value, ProblemError, interval)


def test_a_count_is_whole():
    for value in (2, np.int64(2), np.uint8(2), np.array(2)):
        assert type(checks.count("n", value, ProblemError)) is int
    for value in (
        2.0,
        "2",
        True,
        np.True_,
        None,
        [2],
        np.array([2]),
        0,
        -1,
        HUGE,
        -HUGE,
        10**9 + 1,
    ):
        with pytest.raises(ProblemError, match=r"^n must be"):
            checks.count("n", value, ProblemError)
    assert checks.count("seed", HUGE, ProblemError, low=0, high=None) == HUGE


FRAME = pandas.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})


@pytest.mark.parametrize(
    "values",
    [
        [[1, 3], [2, 4]],
        ((1, 3), (2, Fraction(4))),
        np.array([[1, 3], [2, 4]], np.float16),
        scipy.sparse.csr_array([[1.0, 3.0], [2.0, 4.0]]),
        scipy.sparse.coo_matrix([[1.0, 3.0], [2.0, 4.0]]),
        FRAME,
        FRAME.convert_dtypes(),
        FRAME.convert_dtypes(dtype_backend="pyarrow"),
        polars.DataFrame({"a": [1, 2], "b": [3.0, 4.0]}),
        Tensor([[1.0, 3.0], [2.0, 4.0]]),
    ],
    ids=lambda values: type(values).__name__,
)
def test_arrays_of_other_libraries(values):
    found = checks.finite_numbers("X", values, ProblemError)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [[1, 3], [2, 4]])


NO_ARRAYS = {
    "text in a list": (["1", 2], "not of type text"),
    "boolean in a list": ([1.0, True], "not of type bool"),
    "boolean deep in a list": ([[1.0, 2.0], (3.0, np.False_)], "not of type bool"),
    "booleans": (np.eye(2) > 0, "not of type bool"),
    "complex": ([1j], "not of type complex"),
    "missing in a list": ([None, 1.0], "missing entries"),
    "missing in a column": (pandas.Series([1, None], dtype="Int64").astype(object), "missing"),
    "missing in an Arrow column": (pandas.Series([1, None], dtype="int64[pyarrow]"), "NaN|missing"),
    "text in a frame": (pandas.DataFrame({"a": ["x"]}), "not of type str"),
    "text in a polars frame": (polars.DataFrame({"a": ["x"]}), "not of type str"),
    "missing in a polars column": (polars.Series([1.0, None]), "NaN|missing"),
    "masked": (np.ma.masked_array([1.0, 2.0], [False, True]), "masked"),
    "ragged": ([[1.0], [1.0, 2.0]], "rectangular"),
    "huge": ([10**400], "too large for a floating-point number"),
    "huge sparse": (scipy.sparse.eye(10**7), "too large to be held"),
    "dates": (np.array(["2020-01-01"], "datetime64[D]"), "not of type datetime64"),
    "set": ({1.0}, "not of type set"),
    "none": (None, "not of type NoneType"),
    "not finite": ([1.0, math.inf], "NaN or infinite"),
    "long double": (np.array([np.finfo(np.longdouble).max]), "NaN or infinite"),
}


@pytest.mark.parametrize("kind", NO_ARRAYS)
def test_no_array_of_numbers_is_refused(kind):
    values, sentence = NO_ARRAYS[kind]
    with pytest.raises(ProblemError, match=sentence) as error:
        checks.finite_numbers("X", values, ProblemError)
    assert str(error.value).startswith("X ") and str(error.value).endswith(".")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
)


@given(plain)
def test_an_array_or_one_of_our_errors(values):
    try:
        found = checks.finite_numbers("X", values, ProblemError)
    except ProblemError:
        return
    assert found.dtype == np.float64 and np.isfinite(found).all()
    # Nothing but numbers went in.
    flat = str(values)
    assert "True" not in flat and "False" not in flat and "'" not in flat


@given(plain)
def test_a_number_or_one_of_our_errors(value):
    try:
        found = checks.number("x", value, ProblemError, "[-1, 1)")
    except ProblemError as error:
        assert "\n" not in str(error)
    else:
        assert -1 <= found < 1 and type(value) in (int, float)


def test_paths_and_names():
    assert checks.path("out", "a/b", ProblemError).name == "b"
    for value in ("", "a\0b", None, 3, b"a"):
        with pytest.raises(ProblemError, match="out must be a path"):
            checks.path("out", value, ProblemError)
    assert checks.choice("basis", "haar", ("axis", "haar"), ProblemError) == "haar"
    with pytest.raises(ProblemError, match="must be one of axis, haar, not 3"):
        checks.choice("basis", 3, ("axis", "haar"), ProblemError)


def test_a_hessian_in_single_precision_may_be_as_asymmetric_as_its_rounding():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(60, 60)))[0].astype(np.float32)
    hessian = (basis * np.geomspace(1, 50, 60).astype(np.float32)) @ basis.T
    hessian[3, 5] *= 1 + 4e-7
    assert np.abs(hessian - hessian.T).max() > 1e-8 * np.abs(hessian).max()
    assert qpsim.QuadraticProblem(hessian).dim == 60
    with pytest.raises(ProblemError, match="symmetric"):
        qpsim.QuadraticProblem(hessian.astype(np.float64))
    hessian[3, 5] += 0.01
    with pytest.raises(ProblemError, match="symmetric"):
        qpsim.QuadraticProblem(hessian)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.longdouble])
def test_a_noise_level_of_any_precision(kind):
    assert qpsim.QuadraticProblem([1.0], noise_std=kind(0.5)).noise_std == 0.5
    assert qpsim.random_problem("mild", 2, kind(0.5), kind(0.5), scale=kind(2), rng=0).dim == 2


@pytest.mark.peer
def test_tensors_that_numpy_has_no_format_for():
    torch = pytest.importorskip("torch")
    values = torch.tensor([[1.0, 0.5], [0.0, 2.0]])
    for tensor in (values.bfloat16().requires_grad_(), values.to_sparse()):
        found = checks.numbers("it", tensor, ProblemError)
        assert found.tolist() == [[1.0, 0.5], [0.0, 2.0]]
