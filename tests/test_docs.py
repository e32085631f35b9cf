"""README and docs agree with the tree: links, folders, make targets, the core example."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = "spec|host|gateware|soc|firmware|models|bench|tests|docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_files_exist(page):
    text = page.read_text()
    links = re.findall(r"\]\(([^)#]+)\)", text)
    for link in links:
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name}: {link}"
    for name in re.findall(rf"`((?:{FOLDERS})/[\w./]+)`", text):
        if name.startswith("docs/results/"):
            continue            # Made by the commands the page names.
        assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        for target in re.findall(r"^make ([a-z-]+)", page.read_text(), re.M):
            assert target in targets, f"{page.name}: make {target}"
    listed = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"demo", "test"} <= {line.split()[0] for line in listed.stdout.splitlines()}


def test_the_core_in_the_readme_elaborates():
    """README's example of a core in someone's own design, as Verilog."""
    code = (ROOT / "README.md").read_text().split("## One core in your own SoC")[1]
    lines = re.search(r"```python\n(.*?)```", code, re.S)[1].splitlines()
    imports = [line for line in lines if line.startswith("from ")]
    body = [line for line in lines if not line.startswith("from ")]
    source = "\n".join(["from migen.fhdl import verilog", "from litex.gen import LiteXModule",
                        *imports, "class Own(LiteXModule):", "    def __init__(self):",
                        *("        " + line for line in body), "own = Own()",
                        "text = str(verilog.convert(own))"])
    scope = {"__name__": "readme"}
    exec(compile(source, "README.md", "exec"), scope)
    assert "module" in scope["text"]
