from django.db import migrations, models

from calls.migrations._operations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("calls", "0035_merge_audio")]

    operations = [
        AddIndexConcurrently(
            "stream",
            models.Index(
                condition=models.Q(merged_at=None, ended_at__isnull=False),
                fields=["ended_at"],
                name="stream_unmerged",
            ),
        ),
    ]
