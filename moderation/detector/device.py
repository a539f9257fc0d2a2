"""Where the backbone runs, and in which precision. Always explicit; `auto` picks the best this machine has."""

from __future__ import annotations

import torch

from moderation.errors import ConfigurationError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(name: str) -> torch.device:
    """auto, cpu, mps, cuda or cuda:N as a device that is there. Raises ConfigurationError."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise _wrong(f"{name!r} is no device") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise _wrong(f"{name} was asked for, but torch {torch.__version__} sees {count} CUDA devices")
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise _wrong("mps was asked for, but this machine or this torch has none")
    elif device.type != "cpu":
        raise _wrong(f"{name!r} is not supported")
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """auto, float32, bfloat16 or float16. auto: bfloat16 on a CUDA device that computes in it, else float32."""
    if name == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float32
    if name not in _DTYPES:
        raise ConfigurationError("MODERATION_DTYPE", f"{name!r} is not allowed: use auto, {', '.join(_DTYPES)}")
    return _DTYPES[name]


def kind_of(device: torch.device) -> str:
    """What rounding depends on: 'cpu', 'mps', or 'cuda sm90' with the GPU's generation (its compute capability)."""
    if device.type != "cuda":
        return device.type
    major, minor = torch.cuda.get_device_capability(device)
    return f"cuda sm{major}{minor}"


def _wrong(problem: str) -> ConfigurationError:
    return ConfigurationError("MODERATION_DEVICE", problem, hint="use auto, cpu, mps, cuda or cuda:N")
