"""Parts of a netlist."""

import json

import pytest

from litepress.soc.utilization import OTHER, parts_of, table, utilization


def cell(kind, out=(), **inputs):
    return {"type": kind,
            "connections": {"Z": list(out), **{port: [bit] for port, bit in inputs.items()}},
            "port_directions": {"Z": "output", **dict.fromkeys(inputs, "input")}}


MODULE = {
    "netnames": {"add_accelerator_vectorengine_core_total": {"bits": [1, 2]},
                 "VexRiscv.decode_INSTRUCTION": {"bits": [3]},
                 "comb_rhs_slice_proxy7": {"bits": [4, 5]}},
    "cells": {
        "TRELLIS_FF_1": cell("TRELLIS_FF", [1], DI=4),
        "TRELLIS_FF_2": cell("TRELLIS_FF", [2], DI=4),
        "TRELLIS_FF_3": cell("TRELLIS_FF", [3], DI=4),
        "LUT4_7":       cell("LUT4", [4], A=5),       # Drives two of VECTOR and one of the CPU.
        "PFUMX_8":      cell("PFUMX", [5], A=6),      # Not counted, but leads on.
        "CCU2C_9":      cell("CCU2C", [6], A=1),
        "LUT4_lost":    cell("LUT4", [9], A=1),
        "array_3_1":    cell("MULT18X18D", [8], A=1),
        "wbuf_0_32.0.1": cell("DP16KD", [10], A=1),
        "VexRiscv.regs.0.0": cell("TRELLIS_DPR16X4", [11], A=1),
        "clock":        cell("EHXPLLL", [12])}}


def test_parts():
    parts = parts_of(MODULE)
    assert parts == {"TRELLIS_FF_1": "VECTOR", "TRELLIS_FF_2": "VECTOR",
                     "TRELLIS_FF_3": "VexRiscv", "LUT4_7": "VECTOR", "PFUMX_8": "VECTOR",
                     "CCU2C_9": "VECTOR", "LUT4_lost": OTHER, "array_3_1": "COMPUTE: array",
                     "wbuf_0_32.0.1": "ABUF, WBUF, VBUF, PBUF", "VexRiscv.regs.0.0": "VexRiscv"}


def test_table(tmp_path):
    netlist = tmp_path / "netlist.json"
    netlist.write_text(json.dumps({"modules": {"top": MODULE}}))
    counts = utilization(netlist)
    assert list(counts) == ["COMPUTE: array", "VECTOR", "ABUF, WBUF, VBUF, PBUF", "VexRiscv", OTHER]
    assert counts["VECTOR"] == {"lut": 3, "ff": 2, "ebr": 0, "dsp": 0}
    assert counts["VexRiscv"]["lut"] == 6
    lines = table(counts)
    assert lines[0].split() == ["LUT", "FF", "EBR", "DSP"]
    assert lines[-1].split()[-4:] == ["10", "3", "1", "1"]
    assert len({len(line) for line in lines}) == 1
    netlist.write_text("[]")
    with pytest.raises(ValueError, match=r"netlist\.json: not a netlist"):
        utilization(netlist)
