"""Tables in pages of docs/: the lines between two marks, which a command makes anew.

::

    <!-- NAME: made by COMMAND -->
    ...
    <!-- /NAME -->
"""

from .results import write


def filled(text, page, command, name, lines):
    """A page's text with ``lines`` between the marks of that name and command. ValueError: ``page``
    (its name) has not one place for them."""
    begin, end = f"<!-- {name}: made by {command} -->", f"<!-- /{name} -->"
    head, *rest = text.split(begin)
    if len(rest) != 1 or end not in rest[0]:
        raise ValueError(f"{page}: no marks {begin} and {end}, or not one pair")
    return head + "\n".join([begin, *lines, end]) + rest[0].split(end, 1)[1]


def fill(path, command, tables):
    """Put ``tables``, {name: lines}, between their marks in the page ``path``; ValueError as
    ``filled``, and the page stays as it is."""
    text = path.read_text()
    for name, lines in tables.items():
        text = filled(text, path.name, command, name, lines)
    write(path, text)
