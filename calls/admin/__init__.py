"""The admin: what ops staff browse, hear and annotate."""

from .audit import ErasureAdmin, QuarantinedRowAdmin, RecordingAccessAdmin, TagAdmin
from .calls import CallAdmin


__all__ = ["CallAdmin", "ErasureAdmin", "QuarantinedRowAdmin", "RecordingAccessAdmin", "TagAdmin"]
