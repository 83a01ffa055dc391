"""What is saved is what is loaded, and everything that is wrong with a model directory is said in one line."""

import dataclasses
import errno
import hashlib
import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import model_directory
from unrolled.errors import ModelDirectoryError
from unrolled.model_directory import commits, files
from unrolled.model_directory.log import clear_log

CONFIG = {"cell": "gru", "hidden_size": 5, "dropout": 0.25, "name": "Tolstoï", "layers": [2, {"tied": True}]}
TOKENIZER = '{"model": {"vocab": {"é": 0, "\\n": 1}}}\n'
MEMBERS = ("config.json", "model.safetensors", "tokenizer.json")
ALL_FILES = (*MEMBERS, "manifest.json")


def weights(seed: int = 0) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    return {
        "embedding.weight": generator.normal(size=(7, 3)).astype(np.float32),
        "recurrent.weight_hh_l0": generator.normal(size=(15, 5)),
    }


def save(directory: Path, seed: int = 0) -> Path:
    model_directory.save(directory, config={**CONFIG, "seed": seed}, tensors=weights(seed), tokenizer_json=TOKENIZER)
    return directory


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save(tmp_path / "made" / "on the way")


def error_of(action: Callable[[], object]) -> str:
    """The message of the ModelDirectoryError that the action raises, which has to be one line."""
    with pytest.raises(ModelDirectoryError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    return message


def edit_manifest(directory: Path, **changes: object) -> None:
    path = directory / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def rewrite(directory: Path, name: str, content: bytes) -> None:
    """Change a member and its SHA-256 in the manifest alike, as somebody who means harm would."""
    (directory / name).write_bytes(content)
    members = json.loads((directory / "manifest.json").read_text())["files"]
    edit_manifest(directory, files={**members, name: {"name": name, "sha256": hashlib.sha256(content).hexdigest()}})


# Round trips


def test_load_returns_what_was_saved(saved: Path) -> None:
    model = model_directory.load(saved)
    assert model.directory == saved
    assert model.config == model_directory.load(str(saved)).config == {**CONFIG, "seed": 0}
    assert model.tokenizer_json == TOKENIZER
    assert model.tensors.keys() == weights().keys()
    for name, expected in weights().items():
        assert model.tensors[name].dtype == expected.dtype
        np.testing.assert_array_equal(model.tensors[name], expected)
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.config = {}  # type: ignore[misc]


def test_the_folder_is_as_documented(saved: Path) -> None:
    assert {path.name for path in saved.iterdir()} == set(ALL_FILES)
    manifest = json.loads((saved / "manifest.json").read_text())
    digests = {name: hashlib.sha256((saved / name).read_bytes()).hexdigest() for name in MEMBERS}
    members = {name: {"name": name, "sha256": digests[name]} for name in MEMBERS}
    assert manifest == {"format": "unrolled-model", "format_version": 1, "files": members}
    assert (saved / "tokenizer.json").read_text(encoding="utf-8") == TOKENIZER
    assert json.loads((saved / "config.json").read_text(encoding="utf-8"))["name"] == "Tolstoï"


@pytest.mark.parametrize(
    "tensor",
    [
        np.array(2.5),
        np.zeros((0, 4), np.float32),
        np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(24, dtype=np.float32)[::-3],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(5, dtype=">f4"),
        np.array([np.nan, np.inf, -0.0, 5e-324]),
    ],
    ids=["scalar", "empty", "transposed", "strided", "fortran", "big-endian", "special"],
)
def test_tensors_keep_shape_and_bits_whatever_their_memory(tmp_path: Path, tensor: Any) -> None:
    model_directory.save(tmp_path, config={}, tensors={"a": tensor, "b": np.ones(2)}, tokenizer_json="{}")
    loaded = model_directory.load(tmp_path).tensors["a"]
    native = tensor.astype(tensor.dtype.newbyteorder("="))
    assert (loaded.shape, loaded.dtype) == (native.shape, native.dtype)
    assert loaded.tobytes() == native.tobytes()
    assert loaded.flags.c_contiguous
    assert loaded.flags.writeable


def test_training_state_is_a_commit_of_its_own(saved: Path) -> None:
    assert model_directory.load_training(saved) is None
    assert model_directory.load_training(saved / "nowhere") is None
    tensors: dict[str, Any] = {
        "generator": np.arange(9, dtype=np.uint8),
        "step": np.array(12),
        "seen": np.array([True, False]),
        "momentum": np.arange(6, dtype=np.float32).reshape(3, 2).T,
    }
    model_before = (saved / "manifest.json").read_bytes()
    model_directory.save_training(saved, state={"epoch": 3, "best": None}, tensors=tensors)
    resumed = model_directory.load_training(saved)
    assert resumed is not None
    assert resumed[0] == {"epoch": 3, "best": None}
    assert resumed[1].keys() == tensors.keys()
    for name, expected in tensors.items():
        assert resumed[1][name].dtype == expected.dtype
        np.testing.assert_array_equal(resumed[1][name], expected)
    names = {path.name for path in (saved / "training").iterdir()}
    assert names == {"manifest.json", "state.json", "tensors.safetensors"}
    assert (saved / "manifest.json").read_bytes() == model_before
    (saved / "training" / "state.json").write_bytes(b"{}")
    assert "training/state.json: is damaged" in error_of(lambda: model_directory.load_training(saved))
    assert model_directory.load(saved).config["seed"] == 0


def test_a_new_run_starts_without_the_last_ones_log_and_state(saved: Path) -> None:
    for note in (None, "notes.txt"):
        model_directory.append_log(saved, {"step": 1})
        model_directory.save_training(saved, state={}, tensors={})
        (saved / "training" / "state.0123abcd.json").write_bytes(b"left by a kill")
        if note:
            (saved / "training" / note).write_text("mine")
        model_directory.clear_run(saved)
        assert model_directory.load_training(saved) is None
        assert model_directory.read_log(saved) == []
        left = {str(path.relative_to(saved)) for path in saved.rglob("*")} - {*ALL_FILES, "log.jsonl"}
        assert left == ({"training", f"training/{note}"} if note else set())
    assert model_directory.load(saved).config["seed"] == 0


def test_a_new_run_is_told_at_its_start_where_it_cannot_save(tmp_path: Path) -> None:
    model_directory.clear_run(tmp_path / "new" / "folder")
    assert model_directory.read_log(tmp_path / "new" / "folder") == []
    (tmp_path / "file").write_text("x")
    assert "is a file, expected a folder" in error_of(lambda: model_directory.clear_run(tmp_path / "file"))
    (tmp_path / "config.json").write_text("precious")
    assert "config.json: is there without" in error_of(lambda: model_directory.clear_run(tmp_path))


def test_a_clearing_that_is_killed_leaves_nothing_to_resume(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*arguments: object) -> None:
        raise KeyboardInterrupt

    model_directory.save_training(saved, state={"epoch": 1}, tensors={})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", end)
        with pytest.raises(KeyboardInterrupt):
            model_directory.clear_training(saved)
    assert (saved / "training" / "state.json").exists()
    assert model_directory.load_training(saved) is None
    model_directory.save_training(saved, state={"epoch": 2}, tensors={})
    assert model_directory.load_training(saved) == ({"epoch": 2}, {})


def test_has_model(saved: Path) -> None:
    assert model_directory.has_model(saved)
    assert not model_directory.has_model(saved.parent)
    assert not model_directory.has_model(saved / "nowhere")
    (saved / "model.safetensors").unlink()
    assert model_directory.has_model(saved), "a damaged model is not to be overwritten in silence either"


def test_log_is_read_back_in_order(tmp_path: Path) -> None:
    directory = tmp_path / "new"
    assert model_directory.read_log(directory) == []
    records: list[dict[str, Any]] = [{"step": 1, "loss": 2.25}, {"step": 2, "text": "an é,\na line"}, {}]
    for record in records:
        model_directory.append_log(directory, record)
    assert model_directory.read_log(directory) == records
    assert (directory / "log.jsonl").read_text(encoding="utf-8").count("\n") == 3


@pytest.mark.parametrize("torn", ['{"step": 2, "lo', "{"])
def test_log_line_cut_short_by_a_kill_is_dropped(tmp_path: Path, torn: str) -> None:
    model_directory.append_log(tmp_path, {"step": 1})
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write(torn)
    assert model_directory.read_log(tmp_path) == [{"step": 1}]
    model_directory.append_log(tmp_path, {"step": 3})
    assert model_directory.read_log(tmp_path) == [{"step": 1}, {"step": 3}]
    (tmp_path / "log.jsonl").write_text(torn)
    model_directory.append_log(tmp_path, {"step": 4})
    assert model_directory.read_log(tmp_path) == [{"step": 4}]


def test_a_log_line_that_lacks_its_end_alone_stays(tmp_path: Path) -> None:
    for step in (1, 2):
        model_directory.append_log(tmp_path, {"step": step})
    os.truncate(tmp_path / "log.jsonl", (tmp_path / "log.jsonl").stat().st_size - 1)
    assert model_directory.read_log(tmp_path) == [{"step": 1}, {"step": 2}]
    model_directory.append_log(tmp_path, {"step": 3})
    assert model_directory.read_log(tmp_path) == [{"step": 1}, {"step": 2}, {"step": 3}]


def test_log_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    model_directory.append_log(tmp_path, {"step": 1})
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write("step 2\n")
    assert "log.jsonl, line 2: is not JSON" in error_of(lambda: model_directory.read_log(tmp_path))


# Damage


@pytest.mark.parametrize("name", ALL_FILES)
def test_a_flipped_byte_is_detected(saved: Path, name: str) -> None:
    path = saved / name
    content = path.read_bytes()
    places = range(len(content)) if name == "manifest.json" else {0, 9, len(content) // 2, len(content) - 1}
    for place in places:
        for bit in (0x01, 0x20):
            path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
            assert str(saved) in error_of(lambda: model_directory.load(saved))
    path.write_bytes(content)
    assert model_directory.load(saved).config["seed"] == 0


@pytest.mark.parametrize("name", ALL_FILES)
def test_a_truncated_or_longer_file_is_detected(saved: Path, name: str) -> None:
    path = saved / name
    content = path.read_bytes()
    for damaged in (b"", content[:1], content[: len(content) // 2], content[:-2], content + b"x"):
        path.write_bytes(damaged)
        assert name in error_of(lambda: model_directory.load(saved))


def test_damage_is_told_with_both_sums_and_what_to_do(saved: Path) -> None:
    path = saved / "model.safetensors"
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(b"something else")
    actual = hashlib.sha256(b"something else").hexdigest()
    assert error_of(lambda: model_directory.load(saved)) == (
        f"{path}: is damaged (SHA-256 is {actual}, manifest.json says {expected}): "
        "restore it from a copy or train again"
    )


# What is not a model


def test_missing_directory(tmp_path: Path) -> None:
    message = error_of(lambda: model_directory.load(tmp_path / "no"))
    assert message == f"{tmp_path / 'no'}: there is no such folder: give the folder that `unrolled train` wrote"


def test_file_instead_of_directory(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("text")
    assert error_of(lambda: model_directory.load(path)).startswith(f"{path}: is a file: give the folder")
    assert error_of(lambda: save(path)) == f"{path}: is a file, expected a folder: choose another name"
    assert "is a file, expected a folder" in error_of(lambda: save(path / "inside"))
    assert path.read_text() == "text"


def test_directory_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert "holds no model, for it has no manifest.json" in error_of(lambda: model_directory.load(tmp_path))


def test_files_of_somebody_else_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("precious")
    message = error_of(lambda: save(tmp_path))
    assert message.startswith(f"{tmp_path / 'config.json'}: is there without a manifest.json")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("name", MEMBERS)
def test_missing_file(saved: Path, name: str) -> None:
    (saved / name).unlink()
    assert error_of(lambda: model_directory.load(saved)) == (
        f"{saved / name}: is missing, but manifest.json names it: restore it from a copy or train again"
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"PK\x03\x04\xff", "is not JSON"),
        (b'{"format": "unrolled-model", "format_version": NaN}', "NaN is no JSON number"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"a":' * 100_000, "is nested too deeply"),
        (b"[1]", "is not a JSON object"),
        (b'{"format": "unrolled-training", "format_version": 1}', 'does not say "format": "unrolled-model"'),
        (b'{"format": "unrolled-model", "files": {}}', "has no valid format_version"),
        (b'{"format": "unrolled-model", "format_version": true, "files": {}}', "has no valid format_version"),
        (b'{"format": "unrolled-model", "format_version": 2}', "format version 2, this Unrolled reads up to 1"),
        (b'{"format": "unrolled-model", "format_version": 1}', "has no list of files"),
        (b'{"format": "unrolled-model", "format_version": 1, "files": {}}', "does not list config.json"),
        (b'{"format": "unrolled-model", "format_version": 1, "files": {"config.json": []}}', "gives no name"),
        (b" " * (2**20 + 1), "is larger than the 1 MiB"),
    ],
)  # fmt: skip
def test_manifest_that_is_none(saved: Path, content: bytes, expected: str) -> None:
    (saved / "manifest.json").write_bytes(content)
    message = error_of(lambda: model_directory.load(saved))
    assert message.startswith(f"{saved / 'manifest.json'}: ")
    assert expected in message
    assert len(message) < 400


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../config.json", "training/config.json", "..", ".", "", "config.json\n", "model.safetensors",
     "config.0123abcd.json/../x", "config.0123ABCD.json", "C:\\config.json", "config.json\0"],
)  # fmt: skip
def test_names_that_leave_the_folder_are_refused(saved: Path, name: str) -> None:
    (saved.parent / "config.json").write_bytes((saved / "config.json").read_bytes())
    members = json.loads((saved / "manifest.json").read_text())["files"]
    edit_manifest(saved, files={**members, "config.json": {**members["config.json"], "name": name}})
    message = error_of(lambda: model_directory.load(saved))
    assert f"manifest.json: names {name!r} as 'config.json', expected no other name or folder" in message


@pytest.mark.parametrize("name", ALL_FILES)
def test_symbolic_links_are_refused(saved: Path, name: str) -> None:
    outside = saved.parent / "outside"
    (saved / name).rename(outside)
    (saved / name).symlink_to(outside)
    assert f"{saved / name}: is a symbolic link" in error_of(lambda: model_directory.load(saved))


@pytest.mark.parametrize("name", MEMBERS)
def test_folders_and_pipes_are_refused(saved: Path, name: str) -> None:
    for make in (Path.mkdir, os.mkfifo):
        path = saved / name
        path.rmdir() if path.is_dir() else path.unlink()
        make(path)
        assert f"{path}: is not a regular file" in error_of(lambda: model_directory.load(saved))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("config.json", b" " * (2**20 + 1), "config.json: is larger than the 1 MiB that config.json may have"),
        ("config.json", b"[" * 2**20, "config.json: is nested too deeply"),
        ("config.json", b'{"rate": Infinity}', "config.json: is not JSON (Infinity is no JSON number)"),
        ("config.json", b'{"rate": ' + b"9" * 5000 + b"}", "config.json: is not JSON"),
        ("tokenizer.json", b"\xff\xfe", "tokenizer.json: is not UTF-8"),
        ("model.safetensors", b"\xff" * 64, "model.safetensors: is not a safetensors file"),
        ("model.safetensors", b"short", "model.safetensors: is not a safetensors file"),
    ],
)
def test_hostile_members_with_the_right_sum(saved: Path, name: str, content: bytes, expected: str) -> None:
    rewrite(saved, name, content)
    message = error_of(lambda: model_directory.load(saved))
    assert expected in message
    assert len(message) < 400


@pytest.mark.parametrize(("dtype", "size"), [("BF16", 2), ("F16", 2), ("I64", 8), ("C64", 8)])
def test_weights_of_another_dtype_are_refused(saved: Path, dtype: str, size: int) -> None:
    header = json.dumps({"w": {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}}).encode()
    header += b" " * (-len(header) % 8)
    rewrite(saved, "model.safetensors", len(header).to_bytes(8, "little") + header + bytes(size))
    message = error_of(lambda: model_directory.load(saved))
    assert message.startswith(f"{saved / 'model.safetensors'}: ")
    assert re.search("expected an array of float32 or float64|is not a safetensors file that NumPy can hold", message)


# What cannot be saved


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"config": {"rate": float("nan")}}, "config.json: cannot be written as JSON"),
        ({"config": {"cell": object()}}, "config.json: cannot be written as JSON"),
        ({"config": {"name": "\ud800"}}, "config.json: cannot be written as JSON"),
        ({"config": {"text": "x" * 2**20}}, "config.json: is larger than the 1 MiB that config.json may have"),
        ({"tensors": {"w": np.arange(3)}}, 'model.safetensors: tensor "w" is int64, expected an array of float32 or'),
        ({"tensors": {"w": [1.0]}}, 'model.safetensors: tensor "w" is list, expected an array of float32 or float64'),
        ({"tensors": {"__metadata__": np.ones(1)}}, 'model.safetensors: no tensor can be named "__metadata__"'),
    ],
)
def test_what_could_not_be_read_again_is_not_saved(saved: Path, changes: dict[str, Any], expected: str) -> None:
    arguments = {"config": {}, "tensors": weights(), "tokenizer_json": "{}", **changes}
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    assert expected in error_of(lambda: model_directory.save(saved, **arguments))
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, "the disk is full: free some space and try again; what was saved before is intact"),
        (errno.EACCES, "permission denied: ask for access or choose another folder"),
        (errno.EROFS, "the disk is read-only: choose another folder"),
        (errno.EIO, f"{os.strerror(errno.EIO)}: check the path and the disk and try again"),
    ],
)
def test_what_the_system_refuses(saved: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: str) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    monkeypatch.setattr(os, "fsync", refuse)
    assert error_of(lambda: save(saved, seed=1)) == f"{saved}: {expected}"
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_a_folder_that_may_not_be_read(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **options: bool) -> os.stat_result:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    for action in (model_directory.load, model_directory.has_model, model_directory.load_training):
        assert "permission denied: ask for access" in error_of(lambda action=action: action(saved))  # type: ignore[misc]


# Reading while somebody saves


def test_load_finds_what_was_saved_meanwhile(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = iter([1, 2, 3])

    def read_then_save(path: Path, *, name: str) -> bytes:
        content = files.read(path, name=name)
        if name == "manifest.json" and (seed := next(seeds, None)):
            with monkeypatch.context() as patch:
                patch.setattr(commits, "read", files.read)
                save(saved, seed)
        return content

    monkeypatch.setattr(commits, "read", read_then_save)
    model = model_directory.load(saved)
    assert model.config["seed"] == 3
    np.testing.assert_array_equal(model.tensors["embedding.weight"], weights(3)["embedding.weight"])


def test_every_load_is_of_one_save(saved: Path) -> None:
    done = threading.Event()

    def save_many() -> None:
        for seed in range(1, 20):
            save(saved, seed)
        done.set()

    writer = threading.Thread(target=save_many)
    writer.start()
    seen = set()
    while not done.is_set():
        model = model_directory.load(saved)
        seen.add(model.config["seed"])
        expected = weights(model.config["seed"])
        np.testing.assert_array_equal(model.tensors["recurrent.weight_hh_l0"], expected["recurrent.weight_hh_l0"])
    writer.join()
    assert len(seen) > 1
    assert model_directory.load(saved).config["seed"] == 19


# Links that lead out of the directory, when something is written


@pytest.mark.parametrize("name", [".run.lock", "log.jsonl", "training"])
def test_nothing_is_written_through_a_link(saved: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    if name == "training":
        model_directory.save_training(saved, state={"steps": 1}, tensors={})
        (saved / name).rename(outside)
    else:
        outside.write_text("precious\n")
    before = {path: path.read_bytes() for path in [outside, *outside.rglob("*")] if path.is_file()}
    (saved / name).symlink_to(outside)
    deeds: dict[str, list[Callable[[], Any]]] = {
        ".run.lock": [lambda: model_directory.locked(saved).__enter__()],
        "log.jsonl": [lambda: model_directory.append_log(saved, {}), lambda: model_directory.read_log(saved)],
        "training": [
            lambda: model_directory.save_training(saved, state={}, tensors={}),
            lambda: model_directory.load_training(saved),
            lambda: model_directory.clear_training(saved),
        ],
    }
    for deed in deeds[name]:
        assert f"{saved / name}: is a symbolic link" in error_of(deed)
    assert {path: path.read_bytes() for path in before} == before
    if name == "log.jsonl":
        clear_log(saved)
        model_directory.append_log(saved, {"step": 1})
        assert (outside.read_text(), model_directory.read_log(saved)) == ("precious\n", [{"step": 1}])


def test_a_pipe_is_no_log(saved: Path) -> None:
    os.mkfifo(saved / "log.jsonl")
    for deed in (lambda: model_directory.append_log(saved, {}), lambda: model_directory.read_log(saved)):
        assert "is not a regular file" in error_of(deed)
