"""A bitstream's revision: of what it is made from, and of nothing else."""

import os
import shutil
import struct
import subprocess

import pytest

pytest.importorskip("litex")

from litepress.soc import core, firmware, sim
from litepress.soc.revision import FOLDERS, revision
from litepress.spec.arch import ARCHS
from litepress.spec.wire import revision_of, revision_text

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")


def git(root, *words):
    return subprocess.run(["git", "-C", root, "-c", "user.name=test", "-c",
                           "user.email=test@localhost", *words],
                          check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with a file in each folder, and its first commit."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    root = tmp_path / "checkout"
    for folder in (*FOLDERS, "docs", "host"):
        (root / folder).mkdir(parents=True)
        (root / folder / "file.py").write_text("first\n")
    (root / ".gitignore").write_text("*.pyc\n")
    git(tmp_path, "init", "-q", root)
    commit(root)
    return root


def commit(root):
    """Its digits."""
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "test")
    return git(root, "rev-parse", "HEAD")


def test_the_last_commit_that_counts(checkout):
    first = git(checkout, "rev-parse", "HEAD")
    assert revision(checkout) == revision_of(first, False)
    for folder in ("docs", "host"):
        (checkout / folder / "file.py").write_text("second\n")
        assert revision(checkout) == revision_of(first, False)
        commit(checkout)
        assert revision(checkout) == revision_of(first, False)
    for folder in FOLDERS:
        before = revision(checkout)
        (checkout / folder / "file.py").write_text("second\n")
        assert revision(checkout) == before | 1
        assert revision_text(before | 1) == f"{revision_text(before)}+changes"
        made = revision_of(commit(checkout), False)
        assert revision(checkout) == made != before


def test_changes(checkout):
    """New files are, ignored ones are not."""
    clean = revision(checkout)
    (checkout / "spec" / "file.pyc").write_text("")
    (checkout / "new.py").write_text("")
    assert revision(checkout) == clean and clean & 15 == 0
    (checkout / "spec" / "new.py").write_text("")
    assert revision(checkout) == clean | 1


def test_not_known(checkout, tmp_path, monkeypatch):
    """No checkout, no commit, a package within another checkout, no git."""
    copy = tmp_path / "copy"
    copy.mkdir()
    assert revision(copy) == 0
    git(tmp_path, "init", "-q", copy)
    assert revision(copy) == 0
    assert revision(checkout / "host") == 0
    monkeypatch.setenv("PATH", str(copy))
    assert revision(checkout) == 0


@pytest.mark.skipif(not shutil.which("riscv64-unknown-elf-gcc"),
                    reason="riscv64-unknown-elf-gcc is not installed")
def test_it_changes_the_rom_alone(tmp_path):
    """The firmware has it where HELLO puts it together; nothing else of a SoC knows it."""
    soc = sim.SimSoC(ARCHS["tiny"])
    soc.finalize()
    binaries = [firmware.compile_firmware(soc, tmp_path / str(word), word).read_bytes()
                for word in (0x8db05f80, 0x8db05f81, 0xdeadbee0)]
    for binary in binaries:
        assert len(binary) <= core.ROM_BYTES and len(binary) == len(binaries[0])
        different = [at for at in range(0, len(binary), 4)
                     if binary[at:at + 4] != binaries[0][at:at + 4]]
        assert len(different) <= 2 and (binary is binaries[0]) == (not different)
    for word, binary in zip((0x8db05f80, 0x8db05f81, 0xdeadbee0), binaries, strict=True):
        assert word in loaded_constants(binary)


def loaded_constants(binary):
    """Numbers that LUI and the ADDI behind it put into a register."""
    found = set()
    words = [word for (word,) in struct.iter_unpack("<I", binary[:len(binary) // 4 * 4])]
    for at, word in enumerate(words):
        if word & 0x7f == 0x37:
            register = word >> 7 & 31
            found.add(word & 0xfffff000)
            for low in words[at + 1:at + 12]:
                if low & 0x707f == 0x13 and low >> 15 & 31 == register:
                    low = (low >> 20) - (low >> 31 << 12)
                    found.add((word & 0xfffff000) + low & 0xffffffff)
    return found
