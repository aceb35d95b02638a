"""Reads a report back as a browser would: every element closed, text and attributes by section."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "img", "br"}


@dataclass
class Element:
    """An element with what stands in it."""

    name: str
    attributes: dict[str, str | None]
    section: str
    text: str = ""
    children: list["Element"] = field(default_factory=list)


class Page(HTMLParser):
    """The elements of a page in their order; fails on one that is not closed, or closed out of turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self._section = ""
        self.feed(text)
        self.close()
        assert not self._open, [element.name for element in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "section":
            self._section = str(attributes["id"])
        element = Element(tag, attributes, self._section)
        self.elements.append(element)
        if self._open:
            self._open[-1].children.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs), self._section)
        self.elements.append(element)
        self._open[-1].children.append(element)

    def handle_endtag(self, tag: str) -> None:
        element = self._open.pop()
        assert element.name == tag, f"{element.name} is closed as {tag}"
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, name: str, section: str | None = None, class_: str | None = None) -> list[Element]:
        """Return the elements of a name, in a section, of a class."""
        return [
            element
            for element in self.elements
            if element.name == name
            and section in {None, element.section}
            and (class_ is None or class_ in (element.attributes.get("class") or "").split())
        ]

    def section(self, key: str) -> str:
        """Return the text of a section; empty where there is none."""
        return next((each.text for each in self.all("section") if each.attributes["id"] == key), "")

    def rows(self, section: str) -> list[list[str]]:
        """Return the cells of every row of a section's tables."""
        return [
            [cell.text for cell in row.children if cell.name == "td"]
            for row in self.all("tr", section)
            if any(cell.name == "td" for cell in row.children)
        ]
