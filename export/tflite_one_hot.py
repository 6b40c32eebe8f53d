"""``one_hot`` for TFLite, without the check of its classes, which the converter cannot express."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class ComparedOneHot(TorchFunctionMode):
    """While active, ``torch.nn.functional.one_hot`` with a number of classes is a comparison with each class."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Replace what has a fixed size, and leave the rest."""
        if func is F.one_hot:
            return one_hot(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def one_hot(classes: Tensor, num_classes: int = -1) -> Tensor:
    """Int64 one-hot vectors of ``classes``, along a new last axis."""
    if num_classes < 0:
        return F.one_hot(classes, num_classes)
    return (classes[..., None] == torch.arange(num_classes, device=classes.device)).long()
