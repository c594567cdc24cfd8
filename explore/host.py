"""What the processes of one user on one machine share while they run: locks that die with their holders."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from arch.errors import InputError


def host_folder() -> Path:
    """The folder of this user's locks on this machine.

    Raises:
        InputError: somebody else has it.
    """
    folder = Path(tempfile.gettempdir()) / f"edgepose-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.is_symlink():
        raise InputError(f"{folder}: belongs to somebody else; delete it, or set TMPDIR to a folder of your own")
    return folder
