"""A board's bitstream into its FPGA, or its configuration flash, by openFPGALoader.

``python -m litepress.soc.flash --board ulx3s-85f`` loads build/board/ulx3s-85f/ulx3s_85f.bit, which
is gone when the power is; ``--flash`` writes it into the flash that the FPGA starts from.
"""

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from .board import directory_of, find_board

LOADER = "openFPGALoader"


def bitstream_of(board):
    """Path of the bitstream that ``litepress build`` makes for a board."""
    return directory_of(board) / f"{board.build_name}.bit"


def command(board, bitstream, flash=False):
    """openFPGALoader's command line. ValueError: it does not do that for this board, or there is
    no such bitstream."""
    if not board.programmer:
        raise ValueError(f"board {board.name}: {LOADER} does not know it: see docs/boards.md")
    if flash and board.flash == "no":
        raise ValueError(f"board {board.name}: --flash: {LOADER} does not write its flash")
    if not flash and board.flash == "only":
        raise ValueError(f"board {board.name}: {LOADER} only writes its flash: give --flash")
    bitstream = Path(bitstream)
    if not bitstream.is_file():
        raise ValueError(f"{bitstream}: no such bitstream: run `litepress build --board "
                         f"{board.name}`")
    option = ["--write-flash"] if flash and board.flash == "yes" else []
    return [LOADER, "--board", board.programmer, *option, str(bitstream)]


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="litepress flash", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="example: litepress flash --board ulx3s-85f")
    parser.add_argument("--board", default="ulx3s-85f")
    parser.add_argument("--bitstream", help="another file than the one built for the board")
    parser.add_argument("--flash", action="store_true", help="into the configuration flash")
    args = parser.parse_args(arguments)
    try:
        board = find_board(args.board)
        words = command(board, args.bitstream or bitstream_of(board), args.flash)
    except ValueError as error:
        sys.exit(f"litepress flash: {error}")
    if not shutil.which(LOADER):
        sys.exit(f"litepress flash: {LOADER} not found: install it (Debian: apt-get install "
                 f"openfpgaloader)")
    print(shlex.join(words), flush=True)
    sys.exit(subprocess.call(words))


if __name__ == "__main__":
    main()
