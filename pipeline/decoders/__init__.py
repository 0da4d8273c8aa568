"""Readable sources of the programs. The packer turns one of them, with its parts and constants, into a program file."""
