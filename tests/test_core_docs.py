"""Every page in docs/cores has lines to use its core with, and they work: the first Python block of
a page is executed, and what it builds becomes Verilog.

A block either defines a LiteXModule, or consists of lines for the body of one (``self.core = ..``).
"""

import re
from pathlib import Path

import pytest
from litex.gen import LiteXModule
from litex.gen.fhdl.verilog import convert
from migen import ClockDomain

PAGES = sorted((Path(__file__).resolve().parents[1] / "docs" / "cores").glob("*.md"))
CORE_PAGES = [page for page in PAGES if page.name != "README.md"]
MOST_LINES = 10


def first_block(page):
    """Lines of the first Python block."""
    match = re.search(r"^```python\n(.*?)^```", page.read_text(), re.S | re.M)
    assert match, f"{page.name} has no Python block"
    return match[1].splitlines()


def module(lines, name):
    """The module that the lines define, or whose body they are; the last one if several."""
    if any(line.startswith("self.") for line in lines):
        imports = [line for line in lines if re.match(r"(from|import) ", line)]
        body = [f"        {line}" for line in lines if line not in imports]
        lines = [*imports, "class Own(LiteXModule):", "    def __init__(self):", *body]
    scope = {"__name__": name, "LiteXModule": LiteXModule}
    exec(compile("\n".join(lines), name, "exec"), scope)
    own = [value for value in scope.values() if isinstance(value, type)
           and issubclass(value, LiteXModule) and value.__module__ == name]
    assert own, f"{name} builds no LiteXModule"
    top = own[-1]()
    if not hasattr(top, "cd_sys"):
        top.cd_sys = ClockDomain("sys")   # As of the SoC it would be in.
    return top


def to_verilog(top):
    """LiteX's Verilog of a module."""
    return str(convert(top, {top.cd_sys.clk, top.cd_sys.rst}))


@pytest.mark.parametrize("page", CORE_PAGES, ids=lambda page: page.name)
def test_the_lines_of_a_page_build_hardware(page):
    lines = first_block(page)
    assert len([line for line in lines if line.strip()]) <= MOST_LINES
    assert "always @(posedge" in to_verilog(module(lines, page.stem))


def test_there_are_pages():
    assert CORE_PAGES


def test_the_table_of_pages_is_complete():
    text = PAGES[[page.name for page in PAGES].index("README.md")].read_text()
    for page in CORE_PAGES:
        assert f"({page.name})" in text, f"README.md does not list {page.name}"


def test_both_shapes_of_a_block_work():
    whole = ["from litex.gen import LiteXModule", "from migen import Signal",
             "class Own(LiteXModule):", "    def __init__(self):",
             "        self.a = Signal()", "        self.sync += self.a.eq(~self.a)"]
    body = ["from migen import Signal", "self.a = Signal()", "self.sync += self.a.eq(~self.a)"]
    for lines in (whole, body):
        assert "always @(posedge" in to_verilog(module(lines, "page"))
