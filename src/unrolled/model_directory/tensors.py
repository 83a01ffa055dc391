"""Tensors as bytes in the safetensors format, and back; data only, so reading runs nothing."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import ModelDirectoryError

Array = npt.NDArray[Any]

WEIGHT_DTYPES = ("float32", "float64")
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
STATE_DTYPES = (*WEIGHT_DTYPES, "float16", *_INTEGERS, "bool")
_RESERVED = "__metadata__"


def to_safetensors(tensors: Mapping[str, Array], path: Path, *, dtypes: Collection[str]) -> bytes:
    """Make the bytes of a safetensors file; `path` is where an error says that it stands.

    Raises:
        ModelDirectoryError: something is not an array of one of these dtypes, or has a name the format reserves.
    """
    from safetensors.numpy import save

    if _RESERVED in tensors:
        raise ModelDirectoryError(f'{path}: no tensor can be named "{_RESERVED}", which the format reserves: rename it')
    for name, tensor in tensors.items():
        _check_dtype(name, tensor, path, dtypes)
    # The format's writer copies memory as it lies, whatever the strides.
    return bytes(save({name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}))


def from_safetensors(content: bytes, path: Path, *, dtypes: Collection[str]) -> dict[str, Array]:
    """Arrays by name, writable and in C order, from the bytes of the safetensors file at `path`.

    Raises:
        ModelDirectoryError: not a safetensors file, or one with a tensor of another dtype.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(content)
    except (SafetensorError, KeyError) as error:  # KeyError: a dtype that NumPy does not have
        raise ModelDirectoryError(
            f"{path}: is not a safetensors file that NumPy can hold ({error}): restore it from a copy or train again"
        ) from error
    for name, tensor in tensors.items():
        _check_dtype(name, tensor, path, dtypes)
    return dict(tensors)


def _check_dtype(name: str, tensor: object, path: Path, dtypes: Collection[str]) -> None:
    kind = tensor.dtype.name if isinstance(tensor, np.ndarray) else type(tensor).__name__
    if kind not in dtypes:
        raise ModelDirectoryError(f'{path}: tensor "{name}" is {kind}, expected an array of {" or ".join(dtypes)}')
