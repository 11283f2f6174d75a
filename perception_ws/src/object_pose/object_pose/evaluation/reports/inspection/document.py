"""The look of the report: paper, type, tables, tiles and rows of pictures, on reportlab."""

from __future__ import annotations

import io
from collections.abc import Sequence
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
    PageBreak,
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

Story = list[Flowable]


def heading(text: str) -> Flowable:
    """Return a section's heading."""
    return Paragraph(text, _H1)


def subheading(text: str) -> Flowable:
    """Return a heading within a section."""
    return Paragraph(text, _H2)


def text(words: str) -> Flowable:
    """Return a paragraph; ``words`` may hold reportlab's inline mark-up."""
    return Paragraph(words, _BODY)


def bullets(lines: Sequence[str]) -> Story:
    """Return a list."""
    return [Paragraph(line, _BULLET, bulletText="•") for line in lines]


def caption(words: str) -> Flowable:
    """Return the small line below a figure or table."""
    return Paragraph(words, _CAPTION)


def figure(drawn: Figure, words: str = "", width: float = WIDTH) -> Flowable:
    """Return a figure with its caption, never parted by a page's end."""
    inches = drawn.get_size_inches()
    image = Image(io.BytesIO(png_of(drawn)), width=width, height=width * float(inches[1] / inches[0]))
    return KeepTogether([image, caption(words)]) if words else image


def side_by_side(left: Flowable, right: Flowable) -> Flowable:
    """Return two flowables in half the width each."""
    return _bare(Table([[left, right]], colWidths=[WIDTH / 2] * 2))


def half_figure(drawn: Figure) -> Flowable:
    """Return a figure for one side of ``side_by_side``."""
    return figure(drawn, width=WIDTH / 2 - 3 * mm)


def table(rows: Sequence[Sequence[str]], widths: Sequence[float], numeric_from: int = 1) -> Flowable:
    """Return a table whose first row is its head; ``widths`` are shares, columns from ``numeric_from`` on the right."""
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


def tiles(items: Sequence[tuple[str, str]]) -> Flowable:
    """Return a row of large figures, each with a word on what it is."""
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


def pictures(items: Sequence[tuple[Pixels, str]], columns: int = 3) -> Flowable:
    """Return pictures in rows, a line below each."""
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


def new_page() -> Flowable:
    """Return a page's end."""
    return PageBreak()


def gap(millimetres: float) -> Flowable:
    """Return empty space."""
    return Spacer(1, millimetres * mm)


def build(path: str, title: str, subtitle: str, footer: str, story: Story) -> None:
    """Lay the story out as PDF: a title band on the first page, a line at the foot of each."""

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
    document.build([NextPageTemplate("other"), *story])
