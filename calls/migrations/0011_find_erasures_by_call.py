from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("calls", "0010_move_exports_to_the_access_list"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="erasure",
            index=models.Index(fields=["call_sid"], name="erasure_by_call"),
        ),
    ]
