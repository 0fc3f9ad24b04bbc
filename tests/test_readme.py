"""The README and the gallery page say what the program prints."""

import doctest
import re

import pytest

from tests import readme


@pytest.mark.long
@pytest.mark.parametrize("page", readme.PAGES, ids=lambda page: page.parent.name)
def test_examples_and_tables_are_what_the_program_gives(page):
    text = page.read_text()
    assert readme.differences(text, readme.refreshed(text)) == []


def test_the_gallery_page_shows_every_figure_that_is_rendered():
    from qpsim import figures

    page = readme.PAGES[1]
    text = page.read_text()
    for name in figures.names():
        picture = f"{figures.stem(name)}.png"
        if (page.parent / picture).is_file():
            assert f"]({picture})" in text and f"qpsim figure {name}\n" in text
    # Links lead to files that are there.
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (page.parent / target).exists(), target


def test_python_examples():
    result = doctest.testfile(str(readme.README), module_relative=False)
    assert result.attempted > 0 and result.failed == 0


def test_the_table_of_methods_is_up_to_date_and_its_values_are_accepted():
    import qpsim

    (table,) = (
        m[3] for m in readme.REGION.finditer(readme.README.read_text()) if m[2] == "methods"
    )
    assert table == readme.methods()
    *rows, empty, _ = table.splitlines()
    assert empty == "" and set(re.findall("`(.+?)`", table)) >= set(qpsim.method_names())
    for line in rows[2:]:
        name, _, hyper = (cell.strip() for cell in line.strip("|").split("|"))
        given = {} if hyper == "-" else eval(f"dict({hyper})")
        made = qpsim.method(name.strip("`"), **given)
        assert made == qpsim.method(name.strip("`"))
        assert repr(made).endswith(
            f"({', '.join(f'{k}={v!r}' for k, v in made.hyper_parameters.items())})"
        )


def test_both_command_lines_are_there_for_the_ci_script():
    text = readme.README.read_text()
    assert len(re.findall(r"^python3 -m venv .*qpsim figure 2$", text, re.M)) == 1
    assert len(re.findall(r"^python3 -m venv .*pytest$", text, re.M)) == 1


def test_a_changed_number_is_noticed():
    assert readme.differences("loss 1.00", "loss 1.01") == []
    assert readme.differences("loss 1.00", "loss 1.10") != []
    assert readme.differences("sgd 1.00", "ssd 1.00") != []
