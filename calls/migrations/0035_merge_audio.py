from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("calls", "0034_keep_an_audit_log")]

    operations = [
        migrations.AddField(
            "stream",
            "merging_since",
            models.DateTimeField(
                editable=False,
                help_text="When somebody began to merge its rows of audio into longer ones.",
                null=True,
            ),
        ),
        migrations.AddField(
            "stream",
            "merged_at",
            models.DateTimeField(editable=False, help_text="When all of them were.", null=True),
        ),
    ]
