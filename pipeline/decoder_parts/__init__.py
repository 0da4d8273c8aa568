"""Parts that the decoders share. The packer copies what a decoder reaches into its program file.

Packed sources import nothing of this package, so a part may import only the reference machine and other parts.
The constants in capitals are placeholders: the packer puts the values of the cell in their place.
"""
