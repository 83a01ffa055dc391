"""A model directory is held to its own word, and what scores and generates runs without torch."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from unrolled import LanguageModel
from unrolled.errors import ModelDirectoryError, TokenizerError, UsageError

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def copy_of(tiny_model: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: Path(shutil.copytree(tiny_model(kind), tmp_path / kind))


def rewrite(directory: Path, name: str, content: bytes) -> None:
    """Change a file and the manifest alike: what is wrong then is what the file says, not that it is damaged."""
    (directory / name).write_bytes(content)
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["files"][name]["sha256"] = hashlib.sha256(content).hexdigest()
    (directory / "manifest.json").write_text(json.dumps(manifest))


def edit_config(directory: Path, edit: Edit) -> None:
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    edit(config)
    rewrite(directory, "config.json", json.dumps(config).encode())


def edit_tensors(directory: Path, edit: Edit) -> None:
    tensors = load_file(directory / "model.safetensors")
    edit(tensors)
    rewrite(directory, "model.safetensors", save(tensors))


def error_of(directory: Path) -> str:
    """The one line with which loading refuses the directory."""
    with pytest.raises((ModelDirectoryError, TokenizerError)) as caught:
        LanguageModel.load(directory, dtype="float64")
    message = str(caught.value)
    assert "\n" not in message
    return message


# What config.json says


def put(*path: str, value: object) -> Edit:
    def edit(config: dict[str, Any]) -> None:
        *folders, name = path
        for folder in folders:
            config = config[folder]
        if value is None:
            del config[name]
        else:
            config[name] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (put("model", "hidden_size", value=8), '"recurrent.weight_ih_l0" has shape (36, 6), config.json calls for (32'),
        (
            put("model", "embedding_size", value=7),
            '"embedding.weight" has shape (29, 6), config.json calls for (29, 7)',
        ),
        (
            put("model", "vocabulary_size", value=30),
            '"embedding.weight" has shape (29, 6), config.json calls for (30, 6)',
        ),
        (put("model", "layers", value=2), 'has no "recurrent.weight_ih_l1", which config.json calls for: train again'),
        (
            put("model", "cell", value="gru"),
            '"recurrent.weight_ih_l0" has shape (36, 6), config.json calls for (27, 6)',
        ),
        (put("model", "cell", value="transformer"), 'config.json: cell "transformer" is not known: choose one of tanh'),
        (put("model", "cell", value=None), 'config.json: cell "None" is not known: choose one of'),
        (put("model", "layers", value=0), 'config.json: model "layers" is 0: expected a positive integer'),
        (put("model", "layers", value=True), 'config.json: model "layers" is True: expected a positive integer'),
        (
            put("model", "hidden_size", value="9"),
            "config.json: model \"hidden_size\" is '9': expected a positive integer",
        ),
        (put("model", "hidden_size", value=None), 'config.json: model "hidden_size" is None: expected a positive'),
        (put("model", "tied", value="no"), "config.json: model \"tied\" is 'no': expected true or false"),
        (put("model", "tied", value=True), "config.json: tied weights need equal sizes, but embedding_size=6, hidden"),
        (put("model", value=[1]), 'config.json: has no "model" with the sizes: train again'),
        (put("model", value=None), 'config.json: has no "model" with the sizes: train again'),
        (put("task", value="translation"), "its task is 'translation', expected \"language\""),
        (put("task", value=None), 'its task is None, expected "language"'),
        (put("text", value=None), 'config.json: "text" does not name the unit word, char or bpe: train again'),
        (put("text", "unit", value="phoneme"), 'config.json: "text" does not name the unit word, char or bpe'),
        (put("text", "unit", value=[]), 'config.json: "text" does not name the unit word, char or bpe'),
        (put("text", "unit", value="bpe"), "tokenizer.json"),
    ],
)
def test_a_config_that_the_files_contradict_is_refused(
    copy_of: Callable[[str], Path], edit: Edit, message: str
) -> None:
    directory = copy_of("word")
    edit_config(directory, edit)
    assert message in error_of(directory)


# What model.safetensors and tokenizer.json hold


def test_a_tensor_too_many_is_refused(copy_of: Callable[[str], Path]) -> None:
    directory = copy_of("char")
    edit_tensors(directory, lambda tensors: tensors.update({"attention.weight": np.zeros(3, np.float32)}))
    assert error_of(directory) == 'model.safetensors: "attention.weight" is not part of the model in config.json'


def test_a_tensor_too_few_is_refused(copy_of: Callable[[str], Path]) -> None:
    directory = copy_of("char")
    edit_tensors(directory, lambda tensors: tensors.pop("recurrent.bias_hh_l1"))
    assert error_of(directory) == (
        'model.safetensors: has no "recurrent.bias_hh_l1", which config.json calls for: train again'
    )


def test_a_tied_model_has_no_output_weight(copy_of: Callable[[str], Path]) -> None:
    directory = copy_of("bpe")
    edit_tensors(directory, lambda tensors: tensors.update({"output.weight": tensors["embedding.weight"].copy()}))
    assert '"output.weight" is not part of the model in config.json' in error_of(directory)


def test_a_tokenizer_with_another_vocabulary_is_refused(copy_of: Callable[[str], Path]) -> None:
    directory = copy_of("word")
    contents = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    contents["model"]["vocab"]["another"] = 29
    rewrite(directory, "tokenizer.json", json.dumps(contents).encode())
    assert error_of(directory) == "tokenizer.json has 30 tokens, config.json says vocabulary_size=29: train again"


def test_a_tokenizer_of_another_unit_is_refused(
    copy_of: Callable[[str], Path], tiny_model: Callable[[str], Path]
) -> None:
    directory = copy_of("word")
    rewrite(directory, "tokenizer.json", (tiny_model("bpe") / "tokenizer.json").read_bytes())
    assert "tokenizer.json" in error_of(directory)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_flipped_byte_is_found(copy_of: Callable[[str], Path], name: str) -> None:
    directory = copy_of("char")
    content = bytearray((directory / name).read_bytes())
    content[len(content) // 2] ^= 1
    (directory / name).write_bytes(content)
    message = error_of(directory)
    assert message.startswith(f"{directory / name}: is damaged (SHA-256 is ")
    assert message.endswith("restore it from a copy or train again")


def test_folders_without_a_model_say_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no model")
    hint = "give the folder that `unrolled train` wrote"
    assert error_of(tmp_path / "none") == f"{tmp_path / 'none'}: there is no such folder: {hint}"
    assert error_of(tmp_path / "file") == f"{tmp_path / 'file'}: is a file: {hint}"
    assert error_of(tmp_path / "empty") == f"{tmp_path / 'empty'}: holds no model, for it has no manifest.json: {hint}"


# How it is loaded


def test_weights_come_in_the_dtype_asked_for(tiny_model: Callable[[str], Path]) -> None:
    directory = tiny_model("bpe")
    dtypes: tuple[Literal["float32", "float64"], ...] = ("float32", "float64")
    for dtype in dtypes:
        weights = LanguageModel.load(directory, dtype=dtype).weights
        arrays = [weights.embedding, weights.output_weight, weights.output_bias, *vars(weights.layers[0]).values()]
        assert {str(array.dtype) for array in arrays} == {dtype}
        assert weights.output_weight is weights.embedding, "tied weights take their place once"
    with pytest.raises(UsageError, match='dtype is "float16": choose one of auto, float32, float64'):
        LanguageModel.load(directory, dtype="float16")  # type: ignore[arg-type]


def test_the_dtype_by_default_is_the_least_in_which_scores_do_not_depend_on_neighbours(
    tiny_model: Callable[[str], Path],
) -> None:
    directory = tiny_model("word")
    for engine, dtype in (("native", "float32"), ("portable", "float64")):
        assert str(LanguageModel.load(directory, engine=engine).weights.embedding.dtype) == dtype


def test_the_engine_is_the_one_asked_for(tiny_model: Callable[[str], Path]) -> None:
    assert LanguageModel.load(str(tiny_model("char")), engine="portable").engine.name == "portable"
    with pytest.raises(UsageError, match='engine "steam" is not known: choose one of auto, portable'):
        LanguageModel.load(tiny_model("char"), engine="steam")


def test_scoring_evaluating_and_generating_import_no_torch(
    run_python: Callable[..., str], tiny_model: Callable[[str], Path]
) -> None:
    code = """
import sys
import unrolled
for directory in sys.argv[1:]:
    model = unrolled.LanguageModel.load(directory, dtype="float64")
    assert model.score(["the cat sees", "a dog"], details=True)[1].tokens > 1
    assert model.evaluate("the cat sees a dog.\\n").tokens > 1
    assert model.generate("the cat", count=2, max_tokens=5, seed=1)[0].startswith("the cat")
print(sorted({"torch", "matplotlib", "typer"} & set(sys.modules)))
"""
    assert run_python(code, *(str(tiny_model(kind)) for kind in ("word", "char", "bpe", "sentences"))) == "[]\n"
