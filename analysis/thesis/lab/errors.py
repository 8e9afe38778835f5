"""What a person at the command line can mend; scripts end with its one line and code 2."""


class LabError(Exception):
    """Missing data, an option that breaks its rule, results that would be lost."""
