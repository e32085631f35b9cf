"""What a device is built from, as its firmware says it: the last commit that touches it.

Other commits (docs, tests, host) are not looked at: they change no bitstream.
"""

import subprocess
from pathlib import Path

from ..spec.wire import revision_of

ROOT    = Path(__file__).resolve().parents[1]
FOLDERS = ("gateware", "soc", "firmware", "spec")


def revision(root=ROOT):
    """The word of spec.wire.revision_of for the checkout ``root``; 0 where there is none: no git,
    an export without history, or a package that lies within someone else's checkout."""
    try:
        if Path(_git(root, "rev-parse", "--show-toplevel")).resolve() != Path(root).resolve():
            return 0
        commit  = _git(root, "log", "-1", "--format=%H", "--", *FOLDERS)
        changed = _git(root, "status", "--porcelain", "--", *FOLDERS)
    except (OSError, subprocess.SubprocessError):
        return 0
    return revision_of(commit, changed) if commit else 0


def _git(root, *words):
    # Locks would disturb a git that the user runs beside.
    return subprocess.run(["git", "--no-optional-locks", "-C", str(root), *words], text=True,
                          capture_output=True, check=True).stdout.strip()
