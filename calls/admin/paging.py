"""Pages of a list of any size: no COUNT over the table, and no page so deep that it would be one."""

from typing import Any, Literal

from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.text import capfirst


# Deeper pages cost more and more (OFFSET); whoever wants older calls narrows the dates.
MOST_PAGES = 200


class Pages(ChangeList):
    """Asks for one row more than a page holds, which answers "is there another page?" without counting the table."""

    search_placeholder = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Django's "Select … to change" is for a form that asks for one.
        self.title = capfirst(str(self.opts.verbose_name_plural))

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Takes names of columns to sort by too: their numbers depend on who sees which."""
        numbers = {str(name): str(number) for number, name in enumerate(self.list_display)}
        if order := self.params.get("o"):
            self.params["o"] = _translated(order, numbers)
        found: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        return found

    @property
    def named_order(self) -> str:
        """What it is sorted by, as a link has to say it that others use."""
        names = {str(number): str(name) for number, name in enumerate(self.list_display)}
        return _translated(self.params.get("o", ""), names)

    def get_results(self, request: HttpRequest) -> None:
        self.page_num = min(max(self.page_num, 1), MOST_PAGES)
        start = (self.page_num - 1) * self.list_per_page
        rows = self.window(start, start + self.list_per_page + 1)
        self.has_next = len(rows) > self.list_per_page and self.page_num < MOST_PAGES
        self.has_previous = self.page_num > 1
        self.is_cut = len(rows) > self.list_per_page and not self.has_next
        self.result_list = rows[: self.list_per_page]
        self.first_number, self.last_number = start + 1, start + len(self.result_list)
        self.result_count, self.full_result_count = len(self.result_list), 0
        self.show_full_result_count, self.show_admin_actions = False, bool(rows)
        self.can_show_all = self.multi_page = False

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Ties go the way of the first column: then an index with the key is read in order, forwards or backwards."""
        first = super().get_ordering(request, queryset)[0]
        return [first, "-pk" if str(first).startswith("-") else "pk"]

    def get_ordering_field_columns(self) -> dict[int, Literal["asc", "desc"]]:
        """Of several columns in an address it is the first that counts, and no header says otherwise."""
        shown = self.list_display
        columns = super().get_ordering_field_columns().items()
        sorted_by = [(at, way) for at, way in columns if at < len(shown) and self.get_ordering_field(shown[at])]
        return dict(sorted_by[:1])

    def window(self, start: int, stop: int) -> list[Any]:
        return list(self.rows()[start:stop])

    def rows(self) -> QuerySet[Any]:
        queryset: QuerySet[Any] = self.queryset
        return queryset

    @property
    def without_search(self) -> str:
        return self.get_query_string(remove=["q"])

    @property
    def next_link(self) -> str:
        return self.get_query_string({"p": self.page_num + 1})

    @property
    def previous_link(self) -> str:
        return self.get_query_string({"p": self.page_num - 1})


def _translated(order: str, words: dict[str, str]) -> str:
    """`-3.4` with other words for its columns."""
    parts = [("-" if part.startswith("-") else "", part.removeprefix("-")) for part in order.split(".")]
    return ".".join(sign + words.get(word, word) for sign, word in parts)
