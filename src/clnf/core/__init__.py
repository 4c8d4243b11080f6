"""What every room shares: records, contracts, randomness, units, errors, the ledger.

Import from the modules (``clnf.core.records`` ...): the package itself stays free of torch so
that the command line starts fast.
"""
