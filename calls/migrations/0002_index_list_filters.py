from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("calls", "0001_initial")]

    operations = [
        migrations.AddIndex(
            "call", models.Index(name="call_without_audio", fields=["-created_at"], condition=Q(audio_samples=0))
        ),
        migrations.AddIndex(
            "call", models.Index(name="call_reviewed", fields=["-created_at"], condition=Q(reviewed=True))
        ),
    ]
