"""The list's order is by time and key: an index that has both is read in that order and needs no sorting."""

from django.db import migrations, models
from django.db.models import Q


ORDERED = [
    models.Index(name="call_by_status", fields=["status", "-created_at", "-id"]),
    models.Index(name="call_by_handler", fields=["handler", "-created_at", "-id"]),
    models.Index(name="call_by_direction", fields=["direction", "-created_at", "-id"]),
    models.Index(name="call_with_warning", fields=["-created_at", "-id"], condition=Q(has_warning=True)),
    models.Index(name="call_interrupted", fields=["-created_at", "-id"], condition=Q(was_interrupted=True)),
    models.Index(name="call_without_audio", fields=["-created_at", "-id"], condition=Q(audio_samples=0)),
    models.Index(name="call_reviewed", fields=["-created_at", "-id"], condition=Q(reviewed=True)),
]


class Migration(migrations.Migration):
    dependencies = [("calls", "0003_search_by_trigrams")]

    operations = [
        *(migrations.RemoveIndex("call", index.name) for index in ORDERED),
        *(migrations.AddIndex("call", index) for index in ORDERED),
        migrations.AddIndex(
            "call", models.Index(name="call_by_status_length", fields=["status", "-audio_samples", "-id"])
        ),
        migrations.AddIndex("recordingaccess", models.Index(name="access_newest", fields=["-at", "-id"])),
    ]
