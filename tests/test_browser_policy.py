"""No page of ours does what the policy of all pages forbids: a browser would say so, and the page would be broken."""

import pytest
from django.contrib.auth.models import User

from calls.access import auditing
from tests.support.browser import MARKS, eventful, page_of


pytestmark = MARKS
COLLECT = """
window.violations = [];
document.addEventListener("securitypolicyviolation",
    (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`));
"""
OPEN = ["/admin/login/", "/nowhere", "/static/calls/icon.svg", "/admin/sso/", "/healthz"]
STAFF = [
    *(
        "/admin/",
        "/admin/calls/call/",
        "/admin/calls/auditentry/",
        "/admin/calls/call/place/",
        "/admin/password_change/",
    ),
    *(
        "/admin/password_change/",
        "/admin/auth/user/add/",
        "/admin/calls/sound/",
        "/admin/calls/alertrule/add/",
        "/admin/calls/scorecard/add/",
    ),
    *("/admin/second-factor/", "/api/v1/docs", "/admin/nowhere/", "/api/v1/calls"),
]


@pytest.fixture
def page(chromium, site):
    context = chromium.new_context(base_url=site)
    context.add_init_script(COLLECT)
    yield context.new_page()
    context.close()


def test_no_page_does_what_the_policy_forbids(page):
    User.objects.create_superuser("chief", password="the right one")
    auditing.record("log_in", "<script>alert(1)</script>")
    call = eventful()
    found = {}

    def look(path):
        response = page.goto(path)
        if "image/svg" not in response.headers["content-type"]:
            page.wait_for_load_state("networkidle")
        if path != "/healthz":
            assert "default-src 'none'" in response.headers["content-security-policy"], path
        found[path] = page.evaluate("window.violations || []")

    for path in OPEN:
        look(path)
    page.goto("/admin/login/")
    page.fill("#id_username", "chief")
    page.fill("#id_password", "the right one")
    page.click("[type=submit]")
    for path in [*STAFF, page_of(call)]:
        look(path)
    # A form without its token: Django's own page for it has styles inside.
    page.goto("/admin/second-factor/")
    page.evaluate("document.querySelector('main [name=csrfmiddlewaretoken]').remove()")
    page.fill("#id_code", "1")
    page.click("main [type=submit]")
    assert page.title() == "Forbidden | Callstream"
    found["403"] = page.evaluate("window.violations")
    assert {path: said for path, said in found.items() if said} == {}
