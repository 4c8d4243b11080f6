"""Sets too large to come with the package: what there is, fetching it, unpacking it.

Import from the modules (``sets``, ``download``, ``unpack``).
"""
