"""Tables and sheets: how a person sees rows on their screen, and how a pipe or a file gets them.

On a terminal they are drawn by rich: as wide as the window, states in colour (none with NO_COLOR).
Into a pipe or a file they are plain lines, and every row stays one line.

Promise: no cell is ever cut, on a terminal it is wrapped; a column that a narrow window has no room for
is named; nothing that came in by mail can move the cursor or colour the screen.

Sources: no-color.org; Unicode Standard Annex 11 (East Asian width), by way of rich.cells.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from rich.console import Console

_GAP = 2  # blanks between two columns
_COLOURED = ("state", "health", "mode", "sensitivity", "what", "result", "decision")
# Of the eight colours that every theme has, those that can be read on a light and on a dark ground.
_STYLES = {
    "green": "active live verified ok delivered given auto signing keep accept",
    "magenta": "unbound muted closing held queued pending failing rotated warning ask hold defer sensitive"
    " sealed",
    "bold red": "revoked suspended returned dropped failed never withdrawn refused refuse no conflict",
    "dim": "expired retired superseded skip",
}
_STYLE_OF = {word: style for style, words in _STYLES.items() for word in words.split()}


def show(rows: Sequence[Mapping[str, Any]], columns: tuple[str, ...], spare: Sequence[str] = ()) -> None:
    """Print rows under their columns' names.

    spare  columns that a window too narrow for all goes without, the first first
    """
    if sys.stdout.isatty():
        _draw(rows, columns, spare)
        return
    for line in _plain(rows, columns):
        click.echo(line)


def sheet(value: Mapping[str, Any]) -> None:
    """Print one thing, a line for each of its parts."""
    lines = [(name.replace("_", " "), _parts(part)) for name, part in value.items()]
    if not sys.stdout.isatty():
        width = max((len(name) for name, _ in lines), default=0) + _GAP
        for name, cells in lines:
            for at, cell in enumerate(cells):
                click.echo(f"{name if at == 0 else '':<{width}}{cell}")
        return
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, _GAP, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, cells in lines:
        for at, cell in enumerate(cells):
            grid.add_row(name if at == 0 else "", Text(cell, _style(name, cell)))
    _console().print(grid)


def cell(value: Any) -> str:
    """A value as one line for a person."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return _here(value).strftime("%Y-%m-%d %H:%M")
    if isinstance(value, list | tuple):
        return ", ".join(cell(each) for each in value) or "-"
    return printable(str(value))


def _here(at: datetime) -> datetime:
    """In the person's zone; the calendar's last evening as it is, since east of us it has no date."""
    try:
        return at.astimezone()
    except OverflowError:
        return at


def printable(text: str) -> str:
    """Text without anything that a terminal would obey; line breaks and tabs become spaces."""
    return "".join(c if c.isprintable() else " " if c in "\r\n\t" else "\ufffd" for c in text)


def _parts(part: Any) -> list[str]:
    return [cell(each) for each in part] if isinstance(part, list | tuple) else [cell(part)]


def _style(column: str, text: str) -> str:
    return _STYLE_OF.get(text.lower(), "") if column in _COLOURED else ""


def _title(column: str) -> str:
    return column.upper().replace("_", " ")


# ---- into a pipe ---------------------------------------------------------------------------------


def _plain(rows: Sequence[Mapping[str, Any]], columns: tuple[str, ...]) -> Iterator[str]:
    """Aligned lines.  Not by rich, which takes seconds for the ten thousand rows that a program reads."""
    from rich.cells import cell_len

    lines = [[_title(column) for column in columns]]
    lines += [[cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(cell_len(line[at]) for line in lines) for at in range(len(columns))]
    for line in lines:
        padded = (text + " " * (width - cell_len(text)) for text, width in zip(line, widths, strict=True))
        yield (" " * _GAP).join(padded).rstrip()


# ---- on a terminal -------------------------------------------------------------------------------


def _console() -> Console:
    from rich.console import Console

    return Console(file=sys.stdout, force_terminal=True, highlight=False, markup=False, emoji=False)


def _draw(rows: Sequence[Mapping[str, Any]], columns: tuple[str, ...], spare: Sequence[str]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = _console()
    cells = {name: [cell(row.get(name)) for row in rows] for name in columns}
    least = {name: _least(name, [row.get(name) for row in rows], cells[name]) for name in columns}
    most = {name: _width([_title(name), *cells[name]]) for name in columns}
    left_out: list[str] = []
    shown = list(columns)
    for name in spare:
        if sum(least[each] + _GAP for each in shown) - _GAP <= console.width:
            break
        shown.remove(name)
        left_out.append(name)
    widths = fitted(
        [least[name] for name in shown],
        [most[name] for name in shown],
        console.width - _GAP * (len(shown) - 1),
    )
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold"
    )
    for name, width in zip(shown, widths, strict=True):
        table.add_column(_title(name), width=width, overflow="fold", justify=_side(rows, name))
    for at in range(len(rows)):
        table.add_row(*(Text(cells[name][at], _style(name, cells[name][at])) for name in shown))
    console.print(table)
    if left_out:
        names = ", ".join(name.replace("_", " ") for name in left_out)
        click.echo(f"This window has no room for: {names}.  --json has everything.", err=True)


def _side(rows: Sequence[Mapping[str, Any]], name: str) -> Literal["left", "right"]:
    """Numbers stand below each other's last digit."""
    kinds = {type(row.get(name)) for row in rows} - {type(None)}
    return "right" if kinds == {int} else "left"


def _least(name: str, values: list[Any], cells: list[str]) -> int:
    """The width at which no word of the column is broken; a time is one word."""
    whole = any(isinstance(value, datetime) for value in values)
    words = cells if whole else [word for text in cells for word in text.split(" ")]
    return _width([*_title(name).split(" "), *words])


def _width(texts: list[str]) -> int:
    from rich.cells import cell_len

    return max(cell_len(text) for text in texts)


def fitted(least: Sequence[int], most: Sequence[int], room: int) -> list[int]:
    """Widths of columns that together take `room` at most: what is left goes to those that want more.

    Where not even the least fits, the widest give way, and their words are broken.
    """
    widths = list(least)
    while sum(widths) > room and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1
    while sum(widths) < room:
        wanting = [at for at, width in enumerate(widths) if width < most[at]]
        if not wanting:
            break
        widths[min(wanting, key=lambda at: widths[at])] += 1
    return widths
