"""Problems and methods given as text or as objects."""

import numpy as np
import pytest

import qpsim
from qpsim.errors import FigureError, QpsimError
from qpsim.figures import choices

SEED = np.random.SeedSequence(3)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("mild/haar", {"spectrum": "mild", "basis": "haar"}),
        ("structured/axis", {"spectrum": "structured", "basis": "axis"}),
        ("mild/0.3", {"spectrum": "mild", "basis": 0.3}),
        ("power-law:20/haar", {"spectrum": "power-law", "basis": "haar", "condition": 20.0}),
    ],
)
def test_a_text_is_a_random_problem(text, same):
    (row,) = choices.rows([text])
    expected = qpsim.random_problem(**same, dim=6, scale=0.0, rng=SEED)
    np.testing.assert_array_equal(row.draw(6, SEED).hessian, expected.hessian)
    assert row.label == text and row.spectrum == text.rpartition("/")[0]


def test_files_hold_a_hessian_or_eigenvalues(tmp_path):
    hessian = np.array([[2.0, 0.5], [0.5, 1.0]])
    np.save(tmp_path / "H.npy", hessian)
    np.savetxt(tmp_path / "values.csv", [3.0, 2.0, 1.0])
    given = [tmp_path / "H.npy", tmp_path / "values.csv", f"{tmp_path / 'values.csv'}/haar"]
    plain, diagonal, rotated = choices.rows([str(path) for path in given])
    np.testing.assert_array_equal(plain.draw(9, SEED).hessian, hessian)
    assert diagonal.draw(9, SEED).is_diagonal and diagonal.draw(9, SEED).dim == 3
    turned = rotated.draw(9, SEED)
    assert not turned.is_diagonal
    np.testing.assert_allclose(np.linalg.eigvalsh(turned.hessian), [1.0, 2.0, 3.0])
    assert [row.label for row in (plain, diagonal, rotated)] == [
        "H.npy",
        "values.csv",
        "values.csv/haar",
    ]


def test_objects_are_taken_and_their_optimum_is_moved_to_zero():
    problem = qpsim.QuadraticProblem([1.0, 2.0], optimum=[5.0, 5.0])
    first, second = choices.rows([problem, np.eye(2)])
    assert first.draw(9, SEED).optimum.tolist() == [0.0, 0.0]
    assert (first.label, second.label) == ("Hessian, d = 2", "Hessian, d = 2 #2")


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("mild", "is no problem; give SPECTRUM/BASIS"),
        ("mld/haar", "no spectrum 'mld'; did you mean 'mild'"),
        ("mild/2", "is no problem"),
        ("mild:3/haar", "condition number can be chosen"),
        ("power-law:x/haar", "'x' is no condition number"),
        ("power-law:0.5/haar", "condition"),
        ("gone.npy", "gone.npy"),
        (np.array([[1.0, 2.0], [0.0, 1.0]]), "ymmetric"),
        (3.0, "axes"),
    ],
)
def test_what_is_no_problem_is_refused(problem, message):
    with pytest.raises(QpsimError, match=message):
        choices.rows([problem])


def test_methods_go_by_their_name_and_what_was_changed():
    found = choices.methods(["sgd", {"name": "adam", "b2": 0.9}, qpsim.method("m-ssd")])
    assert list(found) == ["sgd", "adam(b2=0.9)", "m-ssd"]
    with pytest.raises(FigureError, match="sgd is given twice"):
        choices.methods(["sgd", qpsim.method("sgd")])
    with pytest.raises(FigureError, match="has a 'name'"):
        choices.methods([{"b2": 0.9}])
    with pytest.raises(QpsimError, match="did you mean 'adam'"):
        choices.methods(["adma"])
