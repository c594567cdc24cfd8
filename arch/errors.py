"""The one exception that means: what the user gave cannot be used."""


class InputError(ValueError):
    """Wrong input, said in one line that names the file, the key and the fix. The command line exits with 2."""
