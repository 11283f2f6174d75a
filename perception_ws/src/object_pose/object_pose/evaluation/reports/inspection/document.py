"""The PDF of the inspection report: mark-up to flowables, and the page layout, on reportlab."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from reportlab.lib import colors
from reportlab.lib.enums import TA_CENTER, TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    Image,
    KeepTogether,
    NextPageTemplate,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

from object_pose.core.arrays import Image as Pixels
from object_pose.evaluation.reports.inspection.figures import AMBER, GREY, NAVY, PALE, TEAL, png_of, png_of_image

_MARGIN = 18 * mm
WIDTH = A4[0] - 2 * _MARGIN
_LINE = colors.HexColor(PALE)
_BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=9.2, leading=13.2, spaceAfter=5, textColor=NAVY)
_SMALL = ParagraphStyle("small", parent=_BODY, fontSize=7.6, leading=10, spaceAfter=0)
_NUMBER = ParagraphStyle("number", parent=_SMALL, alignment=TA_RIGHT)
_HEAD = ParagraphStyle("head", parent=_SMALL, fontName="Helvetica-Bold", textColor=colors.white)
_NUMBER_HEAD = ParagraphStyle("number head", parent=_HEAD, alignment=TA_RIGHT)
_CAPTION = ParagraphStyle("caption", parent=_SMALL, textColor=GREY, spaceBefore=2, spaceAfter=8)
_BOLD = ParagraphStyle("bold", parent=_BODY, fontName="Helvetica-Bold")
_H1 = ParagraphStyle("h1", parent=_BOLD, fontSize=15, leading=19, spaceAfter=6, spaceBefore=10)
_H2 = ParagraphStyle("h2", parent=_BOLD, fontSize=10.5, leading=14, spaceBefore=6, spaceAfter=3, textColor=TEAL)
_BULLET = ParagraphStyle("bullet", parent=_BODY, leftIndent=11, bulletIndent=1, spaceAfter=3)
_TILE = ParagraphStyle("tile", parent=_BODY, fontName="Helvetica-Bold", fontSize=19, leading=23, alignment=TA_CENTER)
_TILE_TEXT = ParagraphStyle("tile text", parent=_SMALL, alignment=TA_CENTER, textColor=GREY)

_BLOCK_MARKS = ("#", "*", "^", "!")


@dataclass(frozen=True)
class Pictures:
    """Images (H, W, 3) in rows of ``columns``, each with a line of text below."""

    items: Sequence[tuple[Pixels, str]]
    columns: int = 3


Part = Figure | Pictures


def layout(markup: str, parts: Mapping[str, Part]) -> list[Flowable]:
    """Return what a text in the mark-up of ``text.jinja`` asks for; ``parts`` are its figures and pictures by name."""
    flowables: list[Flowable] = []
    for block in _blocks(markup):
        first = block[0]
        if first.startswith("^") and flowables:  # a caption stays with what is above it
            flowables[-1] = KeepTogether([flowables[-1], Paragraph(_joined(block)[1:].strip(), _CAPTION)])
        elif first.startswith("!"):
            flowables.append(_command(first[1:].split(), block[1:], parts))
        else:
            flowables.append(_text(_joined(block)))
    return flowables


def _blocks(markup: str) -> list[list[str]]:
    """Return the lines of each block: a mark at the start of a line begins one, an empty line ends it.

    A heading is one line.
    """
    blocks: list[list[str]] = [[]]
    for line in markup.splitlines():
        if not line.strip():
            blocks.append([])
        elif line.startswith(_BLOCK_MARKS) or (blocks[-1] and blocks[-1][0].startswith("#")):
            blocks.append([line])
        else:
            blocks[-1].append(line)
    return [block for block in blocks if block]


def _joined(lines: Sequence[str]) -> str:
    return " ".join(line.strip() for line in lines)


def _text(words: str) -> Flowable:
    """Return a heading, a list item or a paragraph; words may hold reportlab's inline mark-up."""
    for mark, style in (("##", _H2), ("#", _H1)):
        if words.startswith(mark):
            return Paragraph(words[len(mark) :].strip(), style)
    if words.startswith("*"):
        return Paragraph(words[1:].strip(), _BULLET, bulletText="•")
    return Paragraph(words, _BODY)


def _command(words: Sequence[str], lines: Sequence[str], parts: Mapping[str, Part]) -> Flowable:
    name, *arguments = words
    half = WIDTH / 2 - 3 * mm
    if name == "tiles":
        return _tiles([_cells(line, 2) for line in lines])
    if name == "table":
        widths = [float(word) for word in arguments if word != "text"]
        return _table([_cells(line, len(widths)) for line in lines], widths, "text" not in arguments)
    if name == "pair":
        return _bare(Table([[_drawn(parts[item], half) for item in arguments]], colWidths=[WIDTH / 2] * 2))
    if name == "beside":
        row = [_drawn(parts[arguments[0]], half), Paragraph(_joined(lines), _BODY)]
        return _bare(Table([row], colWidths=[WIDTH / 2] * 2))
    return _drawn(parts[name], WIDTH)


def _cells(line: str, columns: int) -> list[str]:
    return re.split(r"\s*\|\s*", line.strip(), maxsplit=columns - 1)


def _drawn(part: Part, width: float) -> Flowable:
    if isinstance(part, Pictures):
        return _pictures(part)
    inches = part.get_size_inches()
    return Image(io.BytesIO(png_of(part)), width=width, height=width * float(inches[1] / inches[0]))


def _table(rows: Sequence[Sequence[str]], widths: Sequence[float], is_numeric: bool) -> Flowable:
    """Return a table whose first row is its head; ``widths`` are shares, numbers from the second column on."""
    numeric_from = 1 if is_numeric else len(widths)
    heads = [Paragraph(cell, _NUMBER_HEAD if i >= numeric_from else _HEAD) for i, cell in enumerate(rows[0])]
    body: list[list[Any]] = [heads]
    for row in rows[1:]:
        body.append([Paragraph(cell, _NUMBER if i >= numeric_from else _SMALL) for i, cell in enumerate(row)])
    made = Table(body, colWidths=[share * WIDTH / sum(widths) for share in widths], repeatRows=1)
    made.setStyle(
        TableStyle(
            [
                ("BACKGROUND", (0, 0), (-1, 0), colors.HexColor(NAVY)),
                ("LINEBELOW", (0, 1), (-1, -1), 0.5, _LINE),
                ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
                ("TOPPADDING", (0, 0), (-1, -1), 2.6),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 2.6),
            ]
        )
    )
    return KeepTogether([made, Spacer(1, 3 * mm)])


def _tiles(items: Sequence[Sequence[str]]) -> Flowable:
    """Return a row of large figures, each with its name."""
    cells = [[Paragraph(value, _TILE), Paragraph(words, _TILE_TEXT)] for value, words in items]
    made = Table([cells], colWidths=[WIDTH / len(items)] * len(items))
    made.setStyle(
        TableStyle(
            [
                ("BOX", (index, 0), (index, 0), 0.8, colors.HexColor(PALE)) for index in range(len(items))
            ]
            + [
                ("LINEABOVE", (0, 0), (-1, 0), 2.2, colors.HexColor(TEAL)),
                ("TOPPADDING", (0, 0), (-1, -1), 6),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 8),
            ]
        )
    )  # fmt: skip
    return made


def _pictures(part: Pictures) -> Flowable:
    items, columns = part.items, part.columns
    width = WIDTH / columns - 2 * mm
    cells: list[list[Any]] = []
    for start in range(0, len(items), columns):
        row: list[Any] = []
        for pixels, words in items[start : start + columns]:
            height = width * pixels.shape[0] / pixels.shape[1]
            row.append([Image(io.BytesIO(png_of_image(pixels)), width=width, height=height), Paragraph(words, _SMALL)])
        cells.append(row + [""] * (columns - len(row)))
    return _bare(Table(cells, colWidths=[WIDTH / columns] * columns))


def _bare(made: Table) -> Table:
    made.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 2 * mm),
                ("TOPPADDING", (0, 0), (-1, -1), 1),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
            ]
        )
    )
    return made


def build(path: str, title: str, subtitle: str, footer: str, content: Sequence[Flowable]) -> None:
    """Lay the content out as PDF: a title band on the first page, a line at the foot of each."""

    def first_page(canvas: Canvas, document: BaseDocTemplate) -> None:
        height = 42 * mm
        canvas.setFillColor(colors.HexColor(NAVY))
        canvas.rect(0, A4[1] - height, A4[0], height, stroke=0, fill=1)
        canvas.setFillColor(colors.HexColor(AMBER))
        canvas.rect(0, A4[1] - height - 1.2 * mm, A4[0], 1.2 * mm, stroke=0, fill=1)
        canvas.setFillColor(colors.white)
        canvas.setFont("Helvetica-Bold", 21)
        canvas.drawString(_MARGIN, A4[1] - 22 * mm, title)
        canvas.setFont("Helvetica", 10.5)
        canvas.drawString(_MARGIN, A4[1] - 31 * mm, subtitle)
        foot(canvas, document)

    def foot(canvas: Canvas, document: BaseDocTemplate) -> None:
        canvas.setFillColor(colors.HexColor(GREY))
        canvas.setFont("Helvetica", 7.2)
        canvas.drawString(_MARGIN, 10 * mm, footer)
        canvas.drawRightString(A4[0] - _MARGIN, 10 * mm, f"page {document.page}")

    document = BaseDocTemplate(path, pagesize=A4, title=title, author="object_pose", subject=subtitle)
    inner = {"leftPadding": 0, "rightPadding": 0, "topPadding": 0, "bottomPadding": 0}
    bottom, top = 16 * mm, 16 * mm
    document.addPageTemplates(
        [
            PageTemplate("first", Frame(_MARGIN, bottom, WIDTH, A4[1] - bottom - 50 * mm, **inner), first_page),
            PageTemplate("other", Frame(_MARGIN, bottom, WIDTH, A4[1] - bottom - top, **inner), foot),
        ]
    )
    document.build([NextPageTemplate("other"), *content])
