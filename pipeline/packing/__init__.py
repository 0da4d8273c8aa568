"""From a readable decoder, constants and a payload to one program file."""

from pipeline.packing.packer import pack

__all__ = ["pack"]
