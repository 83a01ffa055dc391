"""Cells printed as C++: what the text says, what it leaves out, and when it is another one."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unrolled import cells
from unrolled.cells import Cell
from unrolled.cells.derivation import complete
from unrolled.cells.elementwise import sigmoid, tanh
from unrolled.cells.symbols import OPERATIONS
from unrolled.engines.native.printing import EXPRESSIONS, MOST_GATES, print_cell, print_file
from unrolled.errors import EngineError

NATIVE = Path(__file__).parents[3] / "native"


class Scaled(Cell):
    """Numbers of all kinds, a value kept twice, a line that leads nowhere, a gate that is not read."""

    name = "scaled"
    gates = ("in", "unread")

    def step(self, a: Any, u: Any, state: Any) -> Any:
        (a_in, _), (h,) = a, state
        sigmoid(h)
        y = tanh(0.1 * a_in)
        return (y + 1e-300 * h - 2,), (y, y, 0.25)

    def step_backward(self, d_state: Any, kept: Any) -> Any:
        (dh,), (y, y_again, quarter) = d_state, kept
        return (dh * (1 - y * y_again) * quarter, 0.0), (), (dh,)


def function_named(name: str, text: str) -> str:
    (found,) = re.findall(rf"^void {name}\(.*?^}}", text, flags=re.MULTILINE | re.DOTALL)
    return str(found)


def test_a_printed_step_in_full() -> None:
    text = print_cell(cells.get("gru_reset_before")).text
    assert function_named("gru_reset_before_late_operand", text).splitlines() == [
        "void gru_reset_before_late_operand(long rows, const T* terms, const T* before, T* operand, T* late_kept) {",
        "  constexpr int lanes = kLanes<T>;",
        "  for (long row = 0; row < rows; ++row) {",
        "    const Vector<T> a_reset = load(terms + 0 * lanes);",
        "    const Vector<T> h_before = load(before + 0 * lanes);",
        "    const Vector<T> sigmoid_a_reset = sigmoid(a_reset);",
        "    const Vector<T> p = sigmoid_a_reset * h_before;",
        "    store<T>(operand + 0 * lanes, p);",
        "    store<T>(late_kept + 0 * lanes, sigmoid_a_reset);",
        "    store<T>(late_kept + 1 * lanes, h_before);",
        "    terms += 3 * lanes;",
        "    before += 1 * lanes;",
        "    operand += 1 * lanes;",
        "    late_kept += 2 * lanes;",
        "  }",
        "}",
    ]


def test_terms_lie_as_products_make_them_and_those_of_late_gates_stay_zero() -> None:
    loads = re.findall(r"(\w+) = load\(terms \+ (\d)", function_named("gru_step", print_cell(cells.get("gru")).text))
    assert loads == [("a_reset", "0"), ("a_update", "1"), ("u_candidate", "2"), ("a_candidate", "3")]
    late = function_named("gru_reset_before_late_operand_backward", print_cell(cells.get("gru_reset_before")).text)
    stores = re.findall(r"store<T>\(d_terms \+ (\d) \* lanes, (.*)\);", late)
    assert stores == [("0", "d_a_reset"), ("1", "Vector<T>{}"), ("2", "Vector<T>{}")]


@pytest.mark.parametrize("name", cells.names())
def test_each_row_is_read_whole_before_it_is_written(name: str) -> None:
    bodies = re.findall(r"^  for .*?^  }", print_cell(cells.get(name)).text, flags=re.MULTILINE | re.DOTALL)
    assert len(bodies) == (4 if cells.get(name).late else 2)
    for body in bodies:
        kinds = re.findall(r"\b(load|store)\b", body)
        assert kinds == sorted(kinds)
        assert {"load", "store"} == set(kinds)


def test_numbers_are_exact_and_of_the_type_of_the_vectors() -> None:
    printed = print_cell(Scaled())
    step = function_named("scaled_step", printed.text)
    assert re.findall(r"T\(.*?\)", step) == ["T(0.1)", "T(1e-300)", "T(2.0)"]
    assert re.findall(r"T\(.*?\)", function_named("scaled_step_backward", printed.text)) == ["T(1.0)", "T(0.25)"]


def test_what_leads_nowhere_is_left_out_and_what_is_kept_twice_is_stored_once() -> None:
    printed = print_cell(Scaled())
    step, backward = (function_named(f"scaled_{method}", printed.text) for method in ("step", "step_backward"))
    assert "sigmoid" not in step
    assert "a_unread" not in step
    assert re.findall(r"kept \+ .*;", step) == ["kept + 0 * lanes, tanh_v1);"]
    assert re.findall(r".*kept \+ .*;", backward) == ["    const Vector<T> tanh_v1 = load(kept + 0 * lanes);"]
    assert "const Vector<T> v1 = tanh_v1 * tanh_v1;" in backward
    assert "terms += 2 * lanes;" in step
    assert printed.entry.startswith("kLanes<float>, 2, 0, 0, 1, 1, 0, {},")


def test_a_gradient_that_is_zero_is_stored_and_an_unread_tile_has_no_name() -> None:
    text = print_cell(cells.get("tanh")).text
    assert "store<T>(d_before + 0 * lanes, Vector<T>{});" in function_named("tanh_step_backward", text)
    assert function_named("tanh_step", text).startswith(
        "void tanh_step(long rows, const T* terms, const T* /*before*/, T* after, T* kept) {"
    )


def test_the_file_gives_out_all_cells_and_the_apart_gates_by_number() -> None:
    printed = [print_cell(cells.get(name)) for name in cells.names()]
    text = print_file(printed)
    table = text.split("kCells[] = {")[1]
    assert re.findall(r'"([0-9a-f]{64})"', table) == [cell.digest for cell in printed]
    assert len({cell.digest for cell in printed}) == len(cells.names())
    assert f"*count = {len(printed)};" in text
    figures = dict(zip(cells.names(), re.findall(r"kLanes<float>, (.*),$", table, flags=re.MULTILINE), strict=True))
    assert figures["gru"] == "3, 1, 0, 1, 5, 0, {2}"
    assert figures["gru_reset_before"] == "3, 0, 1, 1, 3, 2, {}"
    assert figures["lstm"] == "4, 0, 0, 2, 6, 0, {}"


def test_the_digest_tells_whether_lines_have_changed() -> None:
    class Other(Scaled):
        """The same lines again."""

    class Half(Scaled):
        def step_backward(self, d_state: Any, kept: Any) -> Any:
            (d_in, zero), u, before = super().step_backward(d_state, kept)
            return (0.5 * d_in, zero), u, before

    class Renamed(Scaled):
        name = "renamed"

    assert print_cell(Other()) == print_cell(Scaled())
    digests = {print_cell(cell).digest for cell in (Scaled(), Half(), Renamed())}
    assert len(digests) == 3


def test_any_names_become_words_of_cpp_that_differ() -> None:
    class Named(Cell):
        name = "my cell-é"
        gates = ("for", "in put", "in-put", "2nd")
        state = ("h", "Größe")

        def step(self, a: Any, u: Any, state: Any) -> Any:
            return (a[0] * a[1] + a[2] * a[3] * state[1], tanh(a[1]) - state[0]), ()

    named = complete(Named())
    printed = print_cell(named)
    assert re.fullmatch(r"cell_my_cell__[0-9a-f]{8}", printed.identifier)
    assert print_file([printed]).isascii()
    for method in ("step", "step_backward"):
        names = re.findall(r"Vector<T> (\w+) =", function_named(f"{printed.identifier}_{method}", printed.text))
        assert len(names) == len(set(names)) > 8
    assert {"a_for", "a_in_put", "a_in_put_", "a_2nd"} <= set(re.findall(r"\w+", printed.text))


def test_a_cell_that_cannot_be_printed_is_told_why() -> None:
    class Many(Cell):
        name = "many"
        gates = tuple(map(str, range(17)))

        def step(self, a: Any, u: Any, state: Any) -> Any:
            return (sum(a),), ()

    class Division(Scaled):
        def step(self, a: Any, u: Any, state: Any) -> Any:
            return (1 / a[0],), ()

    with pytest.raises(EngineError, match=r"^cell many has 17 gates: the native engine takes up to 16, use portable$"):
        print_cell(complete(Many()))
    with pytest.raises(EngineError, match=r"^cell scaled: step fails on symbols"):
        print_cell(Division())
    assert f"kMostGates = {MOST_GATES};" in (NATIVE / "cell.h").read_text()


def test_every_operation_can_be_printed() -> None:
    assert EXPRESSIONS.keys() == OPERATIONS.keys()


def test_the_build_can_print_with_numpy_alone(run_python: Callable[..., str], tmp_path: Path) -> None:
    code = """
import runpy, sys
for name in ("torch", "tokenizers", "safetensors", "typer", "rich", "matplotlib", "unrolled.engines.native._native"):
    sys.modules[name] = None
sys.argv = ["printing", sys.argv[1]]
runpy.run_module("unrolled.engines.native.printing", run_name="__main__")
"""
    run_python(code, str(tmp_path / "cells.cpp"))
    expected = print_file([print_cell(cells.get(name)) for name in cells.names()])
    assert (tmp_path / "cells.cpp").read_text(encoding="utf-8") == expected
