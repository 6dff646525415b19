"""A campaign's page in a real browser: it keeps up by itself, and its button stops the campaign."""

import pytest
from django.utils import timezone

from calls.models import Campaign, CampaignCall
from tests.support.browser import MARKS, violations
from tests.support.campaigns import make_campaign
from tests.support.factories import make_staff


pytestmark = MARKS


@pytest.fixture
def ops():
    return make_staff("view_campaign", "place_call", "see_numbers")


def path_of(campaign):
    return f"/admin/calls/campaign/{campaign.pk}/change/"


def test_it_keeps_up_by_itself(visit, ops):
    campaign = make_campaign(3, seen_at=timezone.now())
    page = visit(path_of(campaign), ops)
    campaign.rows.filter(line=2).update(status=CampaignCall.Status.FAILED)
    page.wait_for_selector("text=1 refused")
    assert "1 of 3 done" in page.inner_text(".worker-verdict")


def test_its_button_stops_it(visit, ops):
    campaign = make_campaign(1, seen_at=timezone.now())
    page = visit(path_of(campaign), ops)
    page.click("text=Stop")
    page.wait_for_selector(".worker-verdict >> text=Stopped")
    assert Campaign.objects.get().stopped_by == ops


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_and_is_accessible(visit, ops, scheme, width):
    campaign = make_campaign(3, seen_at=timezone.now())
    campaign.rows.filter(line=3).update(columns={"note": "x" * 400})
    for path in ("/admin/calls/campaign/", path_of(campaign)):
        page = visit(path, ops, width=width, scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert violations(page) == []
