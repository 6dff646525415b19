"""Who may do what with calls: groups to put people into, made after every migration."""

from typing import Any

from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission


VIEW = ["view_call", "view_tag", "view_alert", "view_alertrule"]
LISTEN = [*VIEW, "listen_call", "see_numbers", "change_call", "add_tag"]
REVIEWS = [
    *("view_review", "view_scorecard", "add_scorecard", "change_scorecard", "delete_scorecard"),
    *("view_reviewqueue", "add_reviewqueue", "change_reviewqueue", "delete_reviewqueue"),
]
GROUPS = {
    "Ops viewer": VIEW,
    "Ops listener": LISTEN,
    "Ops supervisor": [*LISTEN, "supervise_call", "view_sound"],
    "Ops reviewer": [*VIEW, "listen_call", "review_call"],
    "Ops admin": [
        *LISTEN,
        "review_call",
        *REVIEWS,
        "download_call",
        "export_call",
        "erase_call",
        *("hold_call", "view_legalhold"),
        *("place_call", "view_campaign"),
        "supervise_call",
        *("view_sound", "add_sound", "change_sound", "delete_sound"),
        "point_numbers",
        "manage_apiclients",
        "change_tag",
        "delete_tag",
        "delete_comment",
        "share_views",
        *("view_stream", "view_mark", "view_dtmf", "view_utterance", "view_gap", "view_audiochunk"),
        *("view_receiver", "add_receiver", "change_receiver", "delete_receiver", "view_delivery", "send_delivery"),
        "view_recordingaccess",
        "view_quarantinedrow",
        "view_erasure",
        "view_auditentry",
        *("add_alertrule", "change_alertrule", "delete_alertrule"),
        *("view_worker", "drain_worker"),
    ],
}


def make_groups(using: str, **kwargs: Any) -> None:
    """Makes the groups that are missing; an existing one stays as its owners have made it.

    For post_migrate of this app: on a fresh database permissions do not exist before it. They are made by another
    receiver of the same signal, which may not have run yet, so this asks for them first.
    """
    create_permissions(apps.get_app_config("calls"), verbosity=0, using=using)
    for name, codenames in GROUPS.items():
        group, created = Group.objects.using(using).get_or_create(name=name)
        if created:
            permissions = Permission.objects.using(using)
            found = permissions.filter(content_type__app_label="calls", codename__in=codenames)
            # Nobody gives these: no signal, and nothing for the audit log, whose table may not be there yet.
            links = Group.permissions.through
            links.objects.using(using).bulk_create(links(group=group, permission=one) for one in found)
