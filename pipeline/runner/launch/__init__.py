"""What runs in the process that becomes a program. Standard library only; never imported as part of the package.

The parent folder of this one is put on `sys.path` of a bare interpreter for as long as these modules are imported.
"""
