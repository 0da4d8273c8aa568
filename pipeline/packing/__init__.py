"""From a readable decoder, constants and a payload to one program file, and back."""

from pipeline.packing.container import CONTAINER_BYTES, pack, unpack

__all__ = ["CONTAINER_BYTES", "pack", "unpack"]
