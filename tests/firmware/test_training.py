"""Read training of DDR3: firmware/training.c on this machine, with a PHY of its own."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    binary = tmp_path_factory.mktemp("training") / "training"
    subprocess.run(["gcc", "-O1", "-g", "-Wall", "-Wextra", "-Werror",
                    "-fsanitize=address,undefined", "-fno-sanitize-recover",
                    "-I", ROOT / "firmware", ROOT / "firmware/training.c",
                    Path(__file__).with_name("training_phy.c"), "-o", binary], check=True)

    def run(bitslips, delays, *lanes):
        """(trained, [(bitslip, delay) a lane], trials)"""
        done = subprocess.run([binary, str(len(lanes)), str(bitslips), str(delays), *lanes],
                              capture_output=True, text=True, check=True)
        good, *settings, trials = done.stdout.split()
        return int(good), [tuple(map(int, s.split(","))) for s in settings], int(trials)
    return run


def test_middle_of_the_longest_row(train):
    #               bitslip 0   1          2          3
    lane = "00000000" "01100000" "00111110" "00000001"
    assert train(4, 8, lane, lane) == (1, [(2, 4), (2, 4)], 64)
    other = "11110000" "00000000" "00000011" "00000000"
    good, settings, _ = train(4, 8, lane, other)
    assert (good, settings) == (1, [(2, 4), (0, 1)])
    # A row does not go on from one bitslip to the next.
    assert train(2, 4, "0011" "1100")[1] == [(0, 2)]
    assert train(1, 8, "1" * 8)[1] == [(0, 3)]


def test_bursts_have_to_be_whole(train):
    assert train(2, 8, "bbbbbbbb" "00011000") == (1, [(1, 3)], 16)


def test_a_lane_that_never_reads(train):
    assert train(4, 8, "1" * 32, "0" * 32)[0] == 0
    assert train(4, 8, "b" * 32, "1" * 32)[0] == 0


def test_random_lanes(train):
    rng = random.Random(1)
    for _ in range(40):
        lanes = ["".join(rng.choice("0111b") for _ in range(32))
                 for _ in range(rng.choice((1, 2, 4)))]
        good, settings, _ = train(4, 8, *lanes)
        assert good
        for lane, (bitslip, delay) in zip(lanes, settings, strict=True):
            rows = [lane[8*b:8*b + 8] for b in range(4)]
            longest = max(len(run) for row in rows for run in row.replace("b", "0").split("0"))
            low = delay - (longest - 1)//2
            assert rows[bitslip][low:low + longest] == "1" * longest, (lane, bitslip, delay)
