from django.db import migrations, models
from django.db.models.functions import Cast


def note_monitored(apps, schema_editor):
    """Only behind <Start> does Twilio send what it plays to the caller; the others that listened cannot be told."""
    streams = apps.get_model("calls", "Stream").objects.using(schema_editor.connection.alias)
    named = streams.annotate(tracks_text=Cast("tracks", models.TextField()))
    named.filter(tracks_text__contains="outbound").update(bidirectional=False)


class Migration(migrations.Migration):

    dependencies = [
        ("calls", "0007_limit_logins"),
    ]

    operations = [
        migrations.AddField(
            model_name="stream",
            name="bidirectional",
            field=models.BooleanField(
                default=True, help_text="Behind <Connect>, where we speak too; behind <Start> we only listen."
            ),
        ),
        migrations.AddField(
            model_name="stream",
            name="absent",
            field=models.PositiveBigIntegerField(
                default=0, help_text="Samples after its end during which the call had no stream."
            ),
        ),
        migrations.RunPython(note_monitored, migrations.RunPython.noop),
        migrations.RemoveConstraint(model_name="gap", name="gap_reason"),
        migrations.AlterField(
            model_name="gap",
            name="reason",
            field=models.CharField(
                choices=[
                    ("timestamp", "Twilio sent nothing"),
                    ("sequence", "messages were lost"),
                    ("paused", "recording paused"),
                    ("cleared", "cleared before it was heard"),
                    ("crash", "the process died"),
                    ("over_cap", "no room left to keep it"),
                    ("rejected", "unusable message"),
                    ("no_stream", "the call had no stream"),
                ],
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            model_name="gap",
            constraint=models.CheckConstraint(
                name="gap_reason",
                condition=models.Q(
                    reason__in=[
                        "timestamp", "sequence", "paused", "cleared", "crash", "over_cap", "rejected", "no_stream",
                    ]
                ),
            ),
        ),
    ]
