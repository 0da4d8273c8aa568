"""Everything that a grid reads from the network: found, fetched, locked, proven to be there without one.

Importing this package loads nothing: `prove` must block the network before any library starts a thread.
"""
