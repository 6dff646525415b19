"""Names the call of each access, and moves exports of lists from Django's log to the list of accesses.

There they stood with what was searched for, which may be a number or a name of a call that has been erased since.
"""

from urllib.parse import parse_qsl

from django.conf import settings
from django.db import migrations
from django.db.models import OuterRef, Subquery


PREFIX = "Exported as CSV: "


def name_calls(apps, schema_editor):
    access, call = (apps.get_model("calls", name) for name in ("RecordingAccess", "Call"))
    sids = call.objects.filter(pk=OuterRef("call"), sid__isnull=False).values("sid")
    access.objects.filter(call__sid__isnull=False).update(call_sid=Subquery(sids))


def move_exports(apps, schema_editor):
    access, entry = apps.get_model("calls", "RecordingAccess"), apps.get_model("admin", "LogEntry")
    exports = entry.objects.filter(content_type__app_label="calls", change_message__startswith=PREFIX)
    for export in exports.filter(object_id=None).iterator(chunk_size=500):
        query = dict(parse_qsl(export.change_message.removeprefix(PREFIX)))
        filters = [f"{name}={value}" for name, value in sorted(query.items()) if name not in ("q", "all calls")]
        detail = ", ".join([*filters, *(["a search"] if "q" in query else [])]) or "all calls"
        access.objects.create(
            user_id=export.user_id, kind="export", at=export.action_time, detail=f"CSV of {detail}"[:200]
        )
    exports.filter(object_id=None).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("calls", "0009_keep_accesses_of_erased_calls"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunPython(name_calls, migrations.RunPython.noop),
        migrations.RunPython(move_exports, migrations.RunPython.noop),
    ]
