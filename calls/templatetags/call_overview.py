"""The overview on the admin's index."""

from typing import Any

from django import template
from django.template.context import RequestContext

from calls.admin.live import may_supervise
from calls.admin.overview import overview
from calls.admin.simulating import may_simulate


register = template.Library()


@register.inclusion_tag("admin/calls/overview.html", takes_context=True)
def call_overview(context: RequestContext) -> dict[str, Any]:
    """Nothing, and no query, for those who may not see calls."""
    request = context["request"]
    if not request.user.has_perm("calls.view_call"):
        return {}
    return {**overview(may_watch=may_supervise(request)), "may_simulate": may_simulate(request)}
