"""HTML as a tree, so that no text of a server's is ever read as anything but text."""

from xml.etree.ElementTree import Element, tostring


Child = Element | str | None


def el(tag: str, *children: Child, **attributes: str) -> Element:
    """An element; None is left out. `class_` and `for_` are written without their last letter, `aria_label` as one."""
    element = Element(tag, {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()})
    for child in children:
        add(element, child)
    return element


def add(element: Element, child: Child) -> None:
    if isinstance(child, str):
        _add_text(element, child)
    elif child is not None:
        element.append(child)


def html(root: Element) -> str:
    text: str = tostring(root, encoding="unicode", method="html")
    return f"<!DOCTYPE html>\n{text}\n"


def table(caption: str, heads: list[str], rows: list[list[Child]]) -> Element:
    """One that can be scrolled sideways, by keys too; the first cell of a row is its head."""
    body = [el("tr", el("th", row[0], scope="row"), *(_cell(cell) for cell in row[1:])) for row in rows]
    head = el("thead", el("tr", *(el("th", head, scope="col") for head in heads)))
    whole = el("table", el("caption", caption), head, el("tbody", *body))
    return scrolled(caption, whole)


def _cell(content: Child) -> Element:
    """Figures stay on one line."""
    is_text = isinstance(content, str) and len(content) > 20
    return el("td", content, **({"class_": "text"} if is_text else {}))


def scrolled(name: str, *children: Child) -> Element:
    return el("div", *children, class_="scrolled", role="group", aria_label=name, tabindex="0")


def _add_text(element: Element, text: str) -> None:
    if len(element):
        element[-1].tail = (element[-1].tail or "") + text
    else:
        element.text = (element.text or "") + text
