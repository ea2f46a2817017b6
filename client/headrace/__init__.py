"""headrace: batches of images, decoded beside the storage, at close to the speed of the wire.

client = headrace.connect("http://storage:8000")
train = client.dataset("flowers", batch_size=256, shuffle=True, transforms=[headrace.RandomResizedCrop(224)])
model.fit(train.to_tf(), epochs=3)
"""

from headrace_proto.transforms import (
    CenterCrop,
    ColorJitter,
    Custom,
    Grayscale,
    Normalize,
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    RandomRotation,
    Resize,
)
from headrace_proto.version import __version__

from .batch import Batch
from .client import Client, connect
from .dataset import Dataset
from .errors import (
    ConnectionFailed,
    DataChanged,
    HeadraceError,
    NotHeadrace,
    PlanRefused,
    RequestRefused,
    SampleFailed,
    ServiceError,
    StateMismatch,
    StreamBroken,
    TooManyReplaced,
    Unauthorized,
    UsageError,
    VersionMismatch,
)
from .statistics import Stats

__all__ = [
    "Batch",
    "CenterCrop",
    "Client",
    "ColorJitter",
    "ConnectionFailed",
    "Custom",
    "DataChanged",
    "Dataset",
    "Grayscale",
    "HeadraceError",
    "Normalize",
    "NotHeadrace",
    "PlanRefused",
    "RandomCrop",
    "RandomFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RequestRefused",
    "Resize",
    "SampleFailed",
    "ServiceError",
    "StateMismatch",
    "Stats",
    "StreamBroken",
    "TooManyReplaced",
    "Unauthorized",
    "UsageError",
    "VersionMismatch",
    "__version__",
    "connect",
]
