"""Encoders: the other halves of the decoders in `pipeline.decoder_parts`."""
