"""What PyTorch itself does that cannot be traced, and can be left out: nothing of it changes a number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.distributions import Distribution


@contextmanager
def traceable() -> Iterator[None]:
    """Trace transformers of ``torch.nn`` part by part, and distributions without checking their arguments.

    In evaluation mode each layer of such a transformer is one operator that ONNX lacks.  A distribution decides with an
    ``if`` on the value of a tensor whether its arguments are right.
    """
    fast, checked = torch.backends.mha.get_fastpath_enabled(), Distribution._validate_args
    torch.backends.mha.set_fastpath_enabled(False)
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        Distribution.set_default_validate_args(checked)
