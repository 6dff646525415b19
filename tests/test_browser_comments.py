"""Comments and saved views in a real browser: at the playhead, by a link, with the keyboard, and without a script."""

import pytest

from calls.models import Comment, SavedView
from tests.support.browser import (
    LIST,
    MARKS,
    at,
    eventful,
    page_of,
    violations,
    wait_for_waveform,
    wait_until,
)
from tests.support.factories import make_comment, make_event, make_recording, make_staff, make_view


pytestmark = MARKS


@pytest.fixture
def ada():
    return make_staff("view_call", "change_call", "listen_call", "see_numbers", username="ada")


@pytest.fixture
def call():
    return eventful()


def send(page, text, click=".call-comment-form [type=submit]"):
    page.fill(".call-comment-form textarea", text)
    page.click(click)
    wait_until(page, "document.querySelector('#call-comments .call-said').textContent === 'Saved.'")


def markers(page):
    return page.locator(".call-marker[data-kind=comment]")


def test_a_comment_is_written_where_the_player_stands_and_lies_on_the_wave(visit, ada, call):
    page = visit(page_of(call), ada)
    wait_for_waveform(page)
    assert page.inner_text(".call-comment-form [type=submit]") == "Comment on the call"
    page.click(".call-forward")
    page.click(".call-forward")
    assert page.inner_text(".call-comment-form [type=submit]") == "Comment at 0:10.0"
    send(page, "What happened here?\nListen.")
    comment = Comment.objects.get()
    assert (comment.at_samples, comment.text, comment.name) == (80_000, "What happened here?\nListen.", "ada")
    assert page.inner_text(".call-comment .call-text") == "What happened here?\nListen."
    assert "0:10.0 ada What happened here?" in markers(page).get_attribute("title")
    assert page.input_value(".call-comment-form textarea") == ""


def test_the_moment_stays_while_somebody_writes(visit, ada, call):
    page = visit(page_of(call), ada)
    wait_for_waveform(page)
    page.click(".call-forward")
    page.fill(".call-comment-form textarea", "here")
    page.click(".call-forward")
    assert page.inner_text(".call-comment-form [type=submit]") == "Comment at 0:05.0"
    page.fill(".call-comment-form textarea", "")
    page.click(".call-back")
    page.click(".call-forward")
    assert page.inner_text(".call-comment-form [type=submit]") == "Comment at 0:10.0"


def test_c_writes_escape_leaves_and_ctrl_enter_sends(visit, ada, call):
    page = visit(page_of(call), ada)
    wait_for_waveform(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("c")
    page.keyboard.type("no space starts it")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    assert at(page) == 10, "the player's keys are there again"
    page.keyboard.press("c")
    page.keyboard.press("Control+Enter")
    wait_until(page, "document.querySelector('.call-comment')")
    assert Comment.objects.get().at_samples == 40_000
    assert page.evaluate("document.querySelector('audio').paused")


def test_a_comments_moment_is_heard_by_a_click(visit, ada, call):
    make_comment(call, at_samples=80_000)
    page = visit(page_of(call), ada)
    wait_for_waveform(page)
    page.click(".call-comment .call-at")
    wait_until(page, "document.querySelector('audio').currentTime > 10 && !document.querySelector('audio').paused")


def test_a_link_to_a_comment_opens_its_moment_and_marks_it(visit, ada, call):
    make_comment(call, "another one", at_samples=16_000)
    comment = make_comment(call, at_samples=80_000, resolved_at=call.ended_at)
    page = visit(page_of(call, f"#comment-{comment.pk}"), ada)
    wait_until(page, "document.querySelector('.call-now').textContent === '0:10.0'")
    assert page.locator(".call-linked").get_attribute("id") == f"comment-{comment.pk}"
    assert page.locator(f"#comment-{comment.pk}").is_visible(), "it was folded among the resolved ones"
    assert page.evaluate("document.querySelector('.call-wave').getBoundingClientRect().top") > 0, (
        "the player is in sight"
    )
    assert page.evaluate("document.querySelector('audio').paused")


def test_a_link_to_a_comment_that_is_gone_says_so(visit, ada, call):
    page = visit(page_of(call, "#comment-999"), ada)
    wait_until(page, "document.querySelector('#call-comments .call-said').textContent.includes('was deleted')")


def test_a_marker_leads_to_its_comment_again_and_again(visit, ada, call):
    comment = make_comment(call, at_samples=80_000)
    page = visit(page_of(call), ada)
    wait_for_waveform(page)
    for _ in range(2):
        page.click(".call-back")
        markers(page).click()
        assert at(page) == 10
        assert page.locator(".call-linked").get_attribute("id") == f"comment-{comment.pk}"
    assert page.url.endswith(f"#comment-{comment.pk}")


def test_n_goes_from_event_to_comment(visit, ada, call):
    make_comment(call, "between", at_samples=72_000)
    page = visit(page_of(call, "#t=8.5"), ada)
    wait_for_waveform(page)
    page.keyboard.press("n")
    assert at(page) == 9
    assert "between" in page.inner_text(".call-player .call-said")


def test_a_comment_is_resolved_folded_and_reopened_without_a_reload(visit, ada, call):
    make_comment(call, at_samples=80_000)
    page = visit(page_of(call), ada)
    wait_for_waveform(page)
    page.evaluate("window.stays = true")
    page.click("text=Resolve")
    wait_until(page, "document.querySelector('.call-resolved summary')?.textContent === '1 resolved'")
    wait_until(page, "document.activeElement.matches('.call-resolved summary')")
    assert (Comment.objects.get().resolved_by, markers(page).count()) == (ada, 0)
    page.keyboard.press("Enter")
    page.click("text=Reopen")
    wait_until(page, "!document.querySelector('.call-resolved')")
    assert Comment.objects.get().resolved_at is None
    assert page.evaluate("window.stays")


def test_ones_own_comment_is_edited_and_deleted_in_place(visit, ada, call):
    make_comment(call, "a tpyo", user=ada)
    page = visit(page_of(call), ada)
    page.click(".call-comment summary")
    page.fill(".call-comment textarea", "a typo")
    page.click(".call-comment [value=change]")
    wait_until(page, "document.querySelector('.call-comment .call-text').textContent === 'a typo'")
    page.click(".call-comment summary")
    page.click("text=Delete for good")
    wait_until(page, "!document.querySelector('.call-comment')")
    assert not Comment.objects.exists()


def test_what_somebody_is_writing_survives_what_others_write(visit, ada, call):
    make_comment(call, "mine", user=ada)
    page = visit(page_of(call), ada)
    page.click(".call-comment summary")
    page.fill(".call-comment textarea", "mine, but better")
    make_comment(call, "and another one")
    send(page, "a new one")
    assert page.locator("li.call-comment").count() == 3
    assert page.input_value(".call-comment textarea") == "mine, but better"
    page.click(".call-comment [value=change]")
    wait_until(page, "document.querySelector('.call-comment .call-text').textContent === 'mine, but better'")


def test_comments_of_others_appear_when_somebody_comes_back_to_the_page(visit, ada, call):
    page = visit(page_of(call), ada)
    make_comment(call, "meanwhile", at_samples=80_000)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    wait_until(page, "document.querySelector('.call-comment .call-text')?.textContent === 'meanwhile'")
    wait_until(page, "document.querySelectorAll('.call-marker[data-kind=comment]').length === 1")


def test_comments_of_others_appear_while_a_call_runs(visit, ada):
    call = make_recording(seconds=20, status="in-progress", ended_at=None)
    page = visit(page_of(call), ada)
    make_comment(call, "listen to her now", at_samples=80_000)
    while not page.locator("li.call-comment").count():
        make_event(call)  # something is new on the page
        page.wait_for_timeout(500)
    assert page.inner_text(".call-comment .call-text") == "listen to her now"
    send(page, "I do")
    assert page.locator("li.call-comment").count() == 2


def test_an_expired_login_loses_no_comment(visit, ada, call):
    page = visit(page_of(call), ada)
    page.fill(".call-comment-form textarea", "a long thought")
    page.context.clear_cookies(name="sessionid")
    page.click(".call-comment-form [type=submit]")
    wait_until(page, "document.querySelector('#call-comments .call-said').classList.contains('call-bad')")
    assert page.input_value(".call-comment-form textarea") == "a long thought"
    page.fill(".call-comment-form textarea", "")


def test_nothing_that_staff_write_runs_or_reverses_anything(visit, ada, call):
    make_comment(
        call, "<img src=x onerror=alert(1)>\u202eevil", name="\u202e<script>alert(1)</script>", at_samples=8_000
    )
    page = visit(page_of(call), ada)
    wait_for_waveform(page)
    send(page, "<script>alert(2)</script>" + "x" * 9_000)
    assert page.locator("#call-comments :is(img, script)").count() == 0
    assert markers(page).count() == 1


def test_comments_work_without_a_script(chromium, site, visit, ada, call):
    cookies = visit(LIST, ada).context.cookies()
    context = chromium.new_context(base_url=site, java_script_enabled=False)
    context.add_cookies(cookies)
    page = context.new_page()
    page.goto(page_of(call))
    page.fill(".call-comment-form textarea", "by hand")
    page.fill(".call-comment-form [name=at]", "soon")
    page.click(".call-comment-form [type=submit]")
    assert "Write the moment like 1:23.4" in page.inner_text(".errorlist")
    page.fill("[name=at]", "0:07.5")
    page.click(".submit-row input")
    assert page.url.endswith(f"#comment-{Comment.objects.get().pk}")
    assert page.get_attribute(".call-comment .call-at", "href") == "#t=7.50"
    page.click("text=Resolve")
    assert page.inner_text(".call-resolved summary") == "1 resolved"
    context.close()


def test_a_list_is_saved_under_a_name_and_opened_by_it(visit, ada, call):
    page = visit(f"{LIST}?status=completed", ada)
    page.click("text=Save this view…")
    page.fill("#id_name", "Done")
    page.click("[name=_save]")
    page.wait_for_selector(".call-views [aria-current] >> text=Done")
    page.click(".call-views >> text=All")
    page.wait_for_selector(".call-views [aria-current] >> text=All")
    page.click(".call-views >> text=Done")
    page.wait_for_url("**/?status=completed")
    assert SavedView.objects.get().user == ada


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_comments_and_views_are_accessible_and_fit(visit, call, scheme, width):
    boss = make_staff(*("view_call", "listen_call", "see_numbers", "share_views", "delete_comment"))
    mine, other = make_comment(call, "w" * 300, user=boss), make_comment(call, "here", at_samples=80_000)
    make_comment(call, "done", resolved_at=call.ended_at)
    view = make_view("v" * 60, user=boss)
    make_view("Everybody's", "tag=99")
    for path in (LIST, f"{LIST}?{view.query}", f"{LIST}?tag=99", page_of(call, f"#comment-{other.pk}")):
        page = visit(path, boss, width=width, scheme=scheme)
        for summary in page.locator(".call-comments summary").all():
            summary.click()
        assert violations(page) == [], path
    for path in ("add/?query=status%3Dbusy", "", f"{view.pk}/change/"):
        page = visit(f"/admin/calls/savedview/{path}", boss, width=width, scheme=scheme)
        assert violations(page) == [], path
    assert mine.user == boss
