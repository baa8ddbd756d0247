"""Ready-made hypermodels for images. Each is imported, and Keras with it, when it is first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keratune.applications.hyper_efficientnet import HyperEfficientNet
    from keratune.applications.hyper_image_augment import HyperImageAugment
    from keratune.applications.hyper_resnet import HyperResNet
    from keratune.applications.hyper_xception import HyperXception

__all__ = ["HyperEfficientNet", "HyperImageAugment", "HyperResNet", "HyperXception"]

_HOMES = {
    "HyperEfficientNet": "keratune.applications.hyper_efficientnet",
    "HyperImageAugment": "keratune.applications.hyper_image_augment",
    "HyperResNet": "keratune.applications.hyper_resnet",
    "HyperXception": "keratune.applications.hyper_xception",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
