"""Experiment files: their meaning, and the error messages of wrong ones."""

import io
import json
import os
import string
import sys

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qpsim
from qpsim.errors import FileError, QpsimError, SpecError
from qpsim.problem import noise_families
from qpsim.simulation import spec, spec_keys

HESSIAN = np.array([[2.0, 0.5], [0.5, 1.0]])
BASE = {
    "methods": ["sgd"],
    "problem": {"spectrum": "mild", "dim": 3},
    "n_steps": 4,
    "n_replicates": 3,
}


def write(folder, text):
    path = folder / "experiment.toml"
    path.write_text(text)
    return path


def test_a_spectrum_with_several_methods(tmp_path):
    path = write(
        tmp_path,
        """
        n_steps = 6
        n_replicates = 5
        rng = 7
        batch_size = 4
        step_size = "line-search"
        methods = ["ssd", {name = "adam", b2 = 0.99, step_size = 0.1, label = "fast"}]
        record = {step_size = true, theta = [0, 6]}

        [problem]
        spectrum = "structured"
        basis = 0.5
        dim = 10
        noise_std = 0.3
        scale = 2.0
        """,
    )
    experiment = spec.read(path)
    assert list(experiment.plans) == ["ssd", "fast"]
    assert experiment.problem.noise_std == 0.3
    assert np.abs(experiment.problem.optimum).max() <= 2.0
    results = experiment.run(workers=1)
    assert results["ssd"].plan.policy.name == "line-search"
    assert results["ssd"].plan.batch_size == 4
    assert results["fast"].method == qpsim.method("adam", b2=0.99)
    assert results["fast"].theta.shape == (5, 2, 10)
    np.testing.assert_array_equal(results["fast"].step_size, 0.1)


def test_the_same_file_gives_the_same_bits_and_methods_share_their_noise():
    table = {**BASE, "methods": ["sgd", {"name": "sgd", "label": "again"}]}
    first, second = (spec.parse(table).run(workers=w) for w in (1, 2))
    np.testing.assert_array_equal(first["sgd"].excess_loss, second["sgd"].excess_loss)
    np.testing.assert_array_equal(first["sgd"].excess_loss, first["again"].excess_loss)
    other = spec.parse({**table, "rng": 1}).run(workers=1)
    assert not np.isclose(other["sgd"].excess_loss, first["sgd"].excess_loss).any()


def test_more_replicates_do_not_change_the_problem_or_the_first_runs():
    few, many = (spec.parse({**BASE, "n_replicates": n}).run(workers=1)["sgd"] for n in (3, 9))
    np.testing.assert_array_equal(few.problem.hessian, many.problem.hessian)
    np.testing.assert_array_equal(few.problem.optimum, many.problem.optimum)
    np.testing.assert_allclose(few.excess_loss, many.excess_loss[:3], rtol=1e-12)


@pytest.mark.parametrize("kind", ["npy", "npz", "csv", "CSV", "NPY", "parquet"])
def test_a_users_own_hessian(tmp_path, kind):
    source = tmp_path / f"hessian.{kind}"
    if kind in ("npy", "NPY"):
        with source.open("wb") as stream:
            np.save(stream, HESSIAN)
    elif kind == "parquet":
        pandas.DataFrame(HESSIAN, columns=["a", "b"]).to_parquet(source)
    elif kind == "npz":
        np.savez(source, other=np.zeros(3), H=HESSIAN)
    else:
        source.write_text("\ufeff2.0, 0.5\n\n0.5, 1.0\n", encoding="utf-8")
    array = 'array = "H"\n' if kind == "npz" else ""
    path = write(tmp_path, f'methods = ["ssd"]\n[problem]\nhessian = "{source.name}"\n{array}')
    np.testing.assert_array_equal(spec.read(path).problem.hessian, HESSIAN)


def test_numbers_in_the_file_itself(tmp_path):
    np.savetxt(tmp_path / "start.csv", np.arange(6.0).reshape(3, 2), delimiter=",")
    problem = {
        "hessian": HESSIAN.tolist(),
        "optimum": [1.0, -1.0],
        "theta0": "start.csv",
        "noise_std": 0,
    }
    experiment = spec.parse({**BASE, "problem": problem}, tmp_path)
    np.testing.assert_array_equal(experiment.problem.optimum, [1.0, -1.0])
    np.testing.assert_array_equal(experiment.plans["sgd"].theta0, [[0, 1], [2, 3], [4, 5]])


def test_a_csv_of_one_row_or_column_holds_eigenvalues(tmp_path):
    for text in ("1,2,3\n", "1\n2\n3\n"):
        (tmp_path / "h.csv").write_text(text)
        experiment = spec.parse({**BASE, "problem": {"hessian": "h.csv"}}, tmp_path)
        np.testing.assert_array_equal(experiment.problem.hessian, [1.0, 2.0, 3.0])


def test_results_are_saved_where_the_file_says_and_options_win(tmp_path):
    path = write(
        tmp_path,
        'n_steps = 3\nn_replicates = 2\nout = "results"\nmethods = ["sgd"]\n'
        '[problem]\nspectrum = "mild"\ndim = 4\n',
    )
    spec.read(path).run(workers=1)
    again = qpsim.load(tmp_path / "results" / "sgd.npz")
    assert again.excess_loss.shape == (2, 4)
    summary = json.loads((tmp_path / "results" / "summary.json").read_text())
    assert summary["methods"]["sgd"]["n_steps"] == 3
    changed = spec.read(path, n_steps=5, out=str(tmp_path / "else"), rng=None)
    changed.run(workers=1)
    assert qpsim.load(tmp_path / "else" / "sgd.npz").n_steps == 5


def test_an_unwritable_output_is_found_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("")
    experiment = spec.parse({**BASE, "out": "taken"}, tmp_path)

    def never(*arguments):
        raise AssertionError("simulated before the folder was checked")

    monkeypatch.setattr(spec, "run_plan", never)
    with pytest.raises(FileError, match="Cannot write to the folder"):
        experiment.run()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stesp": 3}, "Unknown key 'stesp'; did you mean 'n_steps'"),
        (
            {"problem": {"spectrum": "mild", "nois": 1}},
            r"'problem.nois'; did you mean 'noise'",
        ),
        (
            {"problem": {"spectrum": "mild", "methods": ["sgd"]}},
            r"'methods' is no key of \[problem\]; put it above the file's first \[table\]",
        ),
        ({"nois": {}}, "Unknown key 'nois'; did you mean 'noise'"),
        ({"noise": "white"}, "noise must be a table of keys and values, not 'white'"),
        ({"noise": {"family": "wite"}}, "Unknown noise.family 'wite'; did you mean 'white'"),
        ({"noise": {"df": 0}}, "^noise: df, the degrees of freedom"),
        ({"noise": {"std": 1.0, "variance": 1}}, "Unknown key 'noise.variance'"),
        ({"noise": {"family": "dense"}}, "^noise needs 'covariance' for the family 'dense'"),
        ({"noise": {"family": "dense", "covariance": "gone.npy"}}, "noise.covariance: cannot read"),
        (
            {"problem": {"spectrum": "mild", "noise": {"df": 3}}, "noise": {"df": 3}},
            r"both \[noise\] and \[problem.noise\]; keep one",
        ),
        (
            {"problem": {"spectrum": "mild", "noise_std": 1}, "noise": {"std": 1}},
            "problem.noise_std and noise.std say the same; keep one",
        ),
        (
            {"problem": {"spectrum": "mild", "noise": {"family": "wite"}}},
            "Unknown problem.noise.family 'wite'",
        ),
        ({"problem": {"covariance": [1.0]}, "noise": {}}, "'noise', which goes with 'spectrum'"),
        ({"methods": [{"name": "sgd", "stepsize": 1}]}, r"methods\[0\].stepsize'; did you mean"),
        ({"methods": [{"name": "adam", "b3": 1}]}, r"methods\[0\].b3'; did you mean 'b[12]'"),
        ({"methods": ["sgdd"]}, r"methods\[0\]: Unknown method 'sgdd'; did you mean 'sgd'"),
        ({"methods": [{"name": "adam", "b2": 2.0}]}, r"methods\[0\]: adam: b2 must lie in"),
        ({"methods": []}, "methods must be a non-empty array"),
        ({"methods": "sgd"}, "methods must be a non-empty array"),
        ({"methods": [3]}, r"methods\[0\] must be a method's name or a table"),
        ({"methods": ["sgd", "sgd"]}, r"methods\[1\]: the label 'sgd' is taken"),
        ({"methods": [{"name": "sgd", "label": 3}]}, r"methods\[0\].label must be a text"),
        ({"methods": [{"name": "sgd", "step_size": True}]}, r"methods\[0\].step_size must be"),
        ({"methods": [{"name": "sgd", "step_size": "optimum"}]}, "did you mean 'optimal'"),
        ({"methods": [{"name": "sgd", "step_size": [0.1]}]}, "1 step sizes were given for 4"),
        ({"n_steps": "ten"}, "n_steps must be a whole number of at least 1"),
        ({"n_steps": True}, "n_steps must be a whole number"),
        ({"n_steps": 0}, "n_steps must be a whole number"),
        ({"n_steps": 10**50}, "not a huge number"),
        ({"n_replicates": 2.0}, "n_replicates must be a whole number"),
        ({"rng": -1}, "rng must be a whole number of at least 0"),
        ({"workers": 0}, "workers must be a whole number"),
        ({"out": ""}, "out must be a text"),
        ({"record": ["thta"]}, r"'record.thta'; did you mean 'theta'"),
        ({"record": {"theta": ["x"]}}, "record.theta must be true, false or"),
        ({"record": {"theta": [9]}}, "must lie in 0 to 4"),
        ({"record": 3}, "record must be an array of names or a table"),
        ({"problem": 3}, "problem must be a table"),
        ({"problem": {}}, "exactly one of 'spectrum', 'hessian', 'covariance', 'data'"),
        ({"problem": {"spectrum": "mild", "hessian": [1.0]}}, "it has 'spectrum' and 'hessian'"),
        ({"problem": {"spectrum": "wild"}}, "Unknown spectrum 'wild'; did you mean 'mild'"),
        ({"problem": {"spectrum": "mild", "basis": "har"}}, "did you mean 'haar'"),
        ({"problem": {"spectrum": "mild", "basis": 2}}, r"number in \[0, 1\], not 2"),
        ({"problem": {"spectrum": "mild", "noise_std": "x"}}, "problem.noise_std must be a finite"),
        ({"problem": {"spectrum": [1.0, "x"]}}, "problem.spectrum must be a finite number"),
        ({"problem": {"spectrum": [1.0], "dim": 2}}, "drop 'dim'"),
        ({"problem": {"spectrum": "mild", "optimum": [1.0], "scale": 1}}, "keep one"),
        ({"problem": {"spectrum": "mild", "optimum": [1.0]}}, r"optimum must have shape \(100,\)"),
        ({"problem": {"hessian": [1.0], "basis": "haar"}}, "drop 'basis'"),
        (
            {"problem": {"hessian": [[1.0, 2.0], [3.0]]}},
            "must be a rectangular array",
        ),
        ({"problem": {"hessian": [[1.0, 2.0], [0.0, 1.0]]}}, r"max \|Q - Q\^T\| is 2"),
        ({"problem": {"hessian": [1.0, -1.0]}}, "smallest eigenvalue is -1"),
        ({"problem": {"hessian": ["1", "2"]}}, "array of real numbers, not of type text"),
        ({"problem": {"hessian": [1.0, True]}}, "array of real numbers, not of type bool"),
        ({"problem": {"spectrum": "mild", "theta0": ["0"]}}, "theta0, .* not of type text"),
        ({"problem": {"spectrum": [1.0, True]}}, "problem.spectrum must be a finite number"),
        ({"problem": {"spectrum": "mild", "condition": 10}}, "condition number can be chosen"),
        ({"methods": [{"name": "sgd", "label": "a\nb"}]}, "one line of printable text"),
        ({"methods": [{"name": "sgd", "label": "\u00fc" * 120}]}, "240 bytes are too long"),
        ({"methods": ["sgd", {"name": "ssd", "label": "SGD"}]}, "the label 'SGD' is taken"),
        ({"steps": 3}, "steps and n_steps are the same; keep n_steps"),
        ({"problem": {"hessian": "bools.npy"}}, "bools.npy. must be an array of real numbers"),
        ({"problem": {"hessian": "words.npy"}}, "words.npy. must be an array of real numbers"),
        ({"problem": {"hessian": "pipe.npy"}}, "pipe.npy: it is a pipe or a device"),
        ({"problem": {"hessian": "folder.npy"}}, "folder.npy: it is a folder"),
        ({"problem": {"hessian": "words.parquet"}}, "column 2 must be .* not of type str"),
        ({"problem": {"hessian": "bad.parquet"}}, "bad.parquet holds no array of numbers"),
        ({"problem": {"hessian": "h.txt"}}, "must end in .npy, .npz, .csv or .parquet"),
        ({"problem": {"hessian": "gone.npy"}}, "cannot read .*gone.npy: No such file"),
        ({"problem": {"hessian": "words.csv"}}, "words.csv holds no array of numbers"),
        ({"problem": {"hessian": "empty.csv"}}, "empty.csv is empty"),
        ({"problem": {"hessian": "pickled.npy"}}, "pickled.npy holds no array of numbers"),
        ({"problem": {"hessian": "short.npy"}}, "short.npy holds no array of numbers"),
        ({"problem": {"hessian": "two.npz"}}, "holds first, second; say which one"),
        ({"problem": {"hessian": "two.npz", "array": "frist"}}, "did you mean 'first'"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path, change, message):
    (tmp_path / "words.csv").write_text("a,b\nc,d\n")
    (tmp_path / "empty.csv").write_text("\n")
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "short.npy", np.eye(9))
    content = (tmp_path / "short.npy").read_bytes()
    (tmp_path / "short.npy").write_bytes(content[:-8])
    np.savez(tmp_path / "two.npz", first=np.eye(2), second=np.eye(3))
    np.save(tmp_path / "bools.npy", np.eye(2) > 0)
    np.save(tmp_path / "words.npy", np.array(["1", "2"]))
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    pandas.DataFrame({"a": [1.0], "b": ["x"]}).to_parquet(tmp_path / "words.parquet")
    with pytest.raises(QpsimError, match=message) as caught:
        spec.parse({**BASE, **change}, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "made"),
    [
        ("df = 3.0", qpsim.noise.data(0.5, df=3.0)),
        ('family = "white"\nlaw = "laplace"', qpsim.noise.white(0.5, law="laplace")),
        ('family = "dense"\ncovariance = "c.npy"', qpsim.noise.dense(HESSIAN)),
        ('family = "diagonal"\nvariance = [1.0, 4.0]', qpsim.noise.diagonal([1.0, 4.0])),
        (
            'family = "low_rank"\nfactor = [[1.0], [2.0]]\ndf = 4',
            qpsim.noise.low_rank([[1.0], [2.0]], df=4),
        ),
    ],
)
@pytest.mark.parametrize("kind", ["spectrum = [2.0, 3.0]", "hessian = [2.0, 3.0]"])
def test_the_noise_is_a_table_of_its_own_or_the_problems(tmp_path, kind, lines, made):
    np.save(tmp_path / "c.npy", HESSIAN)
    level = "noise_std = 0.5" if made.has_level else ""
    head = f'methods = ["ssd"]\n[problem]\n{kind}\n{level}\n'
    for section in ("noise", "problem.noise"):
        problem = spec.read(write(tmp_path, f"{head}[{section}]\n{lines}\n")).problem
        assert problem.noise.to_dict() == made.to_dict()
        expected = problem.with_noise(made).gradient_covariance()
        np.testing.assert_array_equal(problem.gradient_covariance(), expected)


@pytest.fixture
def own_families():
    """Two classes of noise of a user's own, known by their names during one test."""

    class Cubic(noise_families.HessianNoise):
        family = "cubic"

        def unit_variances(self, q):
            return q.hessian**3

    class Mixed(noise_families.DiagonalNoise):
        family = "mixed"
        names = ("variance", "weights")

        def unit_variances(self, q):
            return self.values[0] * self.values[1]

    for one in (Cubic, Mixed):
        qpsim.noise.register(one)
    yield
    for one in (Cubic, Mixed):
        del noise_families.FAMILIES[one.family]


def test_a_noise_of_ones_own_is_named_in_a_file_once_it_is_registered(tmp_path, own_families):
    np.save(tmp_path / "w.npy", [1.0, 4.0])
    head = 'methods = ["ssd"]\n[problem]\nhessian = [2.0, 3.0]\n[noise]\n'

    def scales(lines):
        return spec.read(write(tmp_path, head + lines)).problem.gradient_scale()

    np.testing.assert_allclose(
        scales('family = "cubic"\nstd = 0.5\ndf = 3'), [0.5**2 * 8, 0.5**2 * 27] ** np.array(0.5)
    )
    np.testing.assert_allclose(
        scales('family = "mixed"\nvariance = [4, 9]\nweights = "w.npy"'), [2.0, 6.0]
    )
    for lines, sentence in {
        'family = "mixed"\nvariance = [4, 9]': "noise needs 'weights' for the family 'mixed'",
        'family = "mixed"\nstd = 1.0': "Unknown key 'noise.std'",
        'family = "cubic"\nstd = -1.0': "^noise: The noise level must be a finite number",
        'family = "cubc"': r"Unknown noise.family 'cubc'; did you mean 'cubic'\? .*qpsim.noise.register",
    }.items():
        with pytest.raises(SpecError, match=sentence):
            scales(lines)
    experiment = spec.read(
        write(tmp_path, f'n_steps = 2\nn_replicates = 2\n{head}family = "cubic"')
    )
    assert np.isfinite(experiment.run(workers=1)["ssd"].excess_loss).all()


def test_what_is_missing_is_named_or_has_a_default():
    with pytest.raises(SpecError, match="no 'problem'"):
        spec.parse({"methods": ["sgd"]})
    assert list(spec.parse({"problem": {"spectrum": "mild", "dim": 2}}).plans) == ["sgd", "ssd"]


@pytest.mark.parametrize("problem", [{"hessian": [1.0, 2.0]}, {"spectrum": "mild", "dim": 2}])
def test_the_optimum_is_drawn_unless_it_or_the_start_is_given(problem):
    drawn = spec.parse({"problem": problem}).problem.optimum
    assert 0 < np.abs(drawn).max() <= 10
    started = spec.parse({"problem": {**problem, "theta0": [1.0, -3.0]}}).problem.optimum
    np.testing.assert_array_equal(started, 0.0)
    both = spec.parse({"problem": {**problem, "theta0": [1.0, -3.0], "scale": 2.0}}).problem.optimum
    assert 0 < np.abs(both).max() <= 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"steps = \n", r"is not valid TOML: .*line 1"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"a = " + b"[" * 5000, "is not valid TOML"),
        (b"steps = 3\nsteps = 4\n", "is not valid TOML"),
        (b"steps = " + b"9" * 5000, "is not valid TOML: Exceeds the limit"),
        ("\ufeffsteps = \n".encode("utf-16"), "not a text file in UTF-8"),
    ],
)
def test_a_malformed_file_gets_one_line(tmp_path, content, message):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=message) as caught:
        spec.read(path)
    assert "\n" not in str(caught.value)


def test_an_unreadable_file_gets_one_line(tmp_path):
    for path in (tmp_path / "gone.toml", tmp_path):
        with pytest.raises(FileError, match="Cannot read"):
            spec.read(path)


@given(st.text(string.printable, max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_is_an_experiment_or_a_qpsim_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "any.toml"
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.raises(QpsimError):
        spec.read(path)


_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 6),
        st.integers(),
        st.floats(),
        st.sampled_from(["sgd", "mild", "haar", "optimal", "theta", "x.csv", "", "\0"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["name", "dim", "theta", "b2", "label"]), inner, max_size=3
        ),
    ),
    max_leaves=5,
)
_keys = [key for key in (*spec_keys.TOP, "other") if key not in ("problem", "out")]
_problem_keys = [*spec_keys.PROBLEM, "other"]


@given(
    st.dictionaries(st.sampled_from(_keys), _values, max_size=3),
    st.dictionaries(st.sampled_from(_problem_keys), _values, max_size=3),
)
@settings(max_examples=300, deadline=None)
def test_any_values_are_an_experiment_or_a_qpsim_error(changes, problem):
    # Small unless a value says otherwise, and dimensions beyond memory are another matter.
    if isinstance(problem.get("dim"), int) and problem["dim"] > 6:
        problem["dim"] = 6
    table = {**BASE, **changes, "problem": {"spectrum": "mild", "dim": 3, **problem}}
    if isinstance(table["n_steps"], int):
        table["n_steps"] = min(table["n_steps"], 6)
    try:
        experiment = spec.parse(table)
    except QpsimError as error:
        assert "\n" not in str(error)
    else:
        assert experiment.plans


def test_labels_become_safe_file_names():
    assert spec_keys.file_name("../adam*") == "adam"
    assert spec_keys.file_name("m-sgd") == "m-sgd"
    assert spec_keys.file_name("*") == "method"


def test_a_byte_order_mark_and_another_locale_do_not_matter(tmp_path, monkeypatch):
    text = (
        'n_steps = 3\nmethods = [{name = "sgd", label = "größer"}]\n[problem]\nspectrum = "mild"\n'
    )
    path = tmp_path / "bom.toml"
    path.write_bytes(text.encode("utf-8-sig"))
    assert list(spec.read(path).plans) == ["größer"]
    stdin = io.TextIOWrapper(io.BytesIO(text.encode()), encoding="latin-1")
    monkeypatch.setattr(sys, "stdin", stdin)
    assert list(spec.read("-").plans) == ["größer"]


@pytest.mark.parametrize(
    "stdin", [None, io.TextIOWrapper(io.BytesIO(b""))], ids=["closed", "empty"]
)
def test_a_closed_standard_input_is_said(monkeypatch, stdin):
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(FileError, match="standard input is empty or closed"):
        spec.read("-")


def test_names_of_the_version_before_are_understood_with_a_hint():
    old = {"steps": 4, "replicates": 3, "seed": 2, "problem": BASE["problem"]}
    with pytest.warns(qpsim.RenamedWarning) as told:
        plan = spec.parse(old).plans["sgd"]
    assert (plan.n_steps, plan.n_replicates) == (4, 3)
    assert [str(one.message) for one in told] == [
        "steps is called n_steps now.",
        "replicates is called n_replicates now.",
        "seed is called rng now.",
    ]
    new = spec.parse({"n_steps": 4, "n_replicates": 3, "rng": 2, "problem": BASE["problem"]})
    np.testing.assert_array_equal(new.problem.hessian, plan.problem.hessian)


@pytest.mark.parametrize("taken", ["ssd.npz", "summary.json", "ssd.checkpoint"])
def test_a_folder_in_a_files_place_is_found_before_the_work(tmp_path, monkeypatch, taken):
    (tmp_path / taken).mkdir()
    experiment = spec.parse({**BASE, "methods": ["sgd", "ssd"], "out": "."}, tmp_path)
    monkeypatch.setattr(spec, "run_plan", None)
    with pytest.raises(FileError, match=f"{taken}: it is a folder"):
        experiment.run(checkpoint_every=1.0)


def test_what_is_computed_is_saved_before_the_next_method_runs(tmp_path, monkeypatch):
    experiment = spec.parse({**BASE, "methods": ["sgd", "ssd"], "out": "."}, tmp_path)
    real = spec.run_plan

    def fails_later(plan, *rest):
        if plan.method.name == "ssd":
            raise MemoryError
        return real(plan, *rest)

    monkeypatch.setattr(spec, "run_plan", fails_later)
    with pytest.raises(MemoryError):
        experiment.run(workers=1)
    assert qpsim.load(tmp_path / "sgd.npz").n_steps == 4


def test_a_label_that_the_systems_file_names_cannot_hold(monkeypatch):
    """As under an ASCII locale without Python's UTF-8 mode."""
    monkeypatch.setattr(spec_keys.os, "fsencode", lambda name: name.encode("ascii"))
    names = [spec_keys.file_name(label) for label in ("größe", "grüße", "adam* 中")]
    assert len(set(names)) == 3
    assert all(name.isascii() and "/" not in name and "\\" not in name for name in names)
    assert spec_keys.label("label", "größe") == "größe"
