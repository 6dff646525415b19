"""What was said, and on PostgreSQL search for any part of it. SQLite reads the newest rows instead.

Trigrams rather than full-text search: the languages are many, and only with an index for each of them would the latter
find "refunds" for "refund", and in those that write no spaces nothing at all. The extension is there since 0003.
"""

import django.db.models.deletion
from django.db import migrations, models


INDEX = "CREATE INDEX utterance_search_text ON calls_utterance USING gin (UPPER(text) gin_trgm_ops)"


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(INDEX)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX IF EXISTS utterance_search_text")


class Migration(migrations.Migration):

    dependencies = [
        ('calls', '0017_word_the_help_texts'),
    ]

    operations = [
        migrations.AddField(
            model_name='stream',
            name='transcribed_at',
            field=models.DateTimeField(blank=True, help_text='When the words of all that is recorded were known, of both lanes.', null=True),
        ),
        migrations.CreateModel(
            name='Utterance',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('track', models.CharField(choices=[('inbound', 'Inbound'), ('outbound', 'Outbound')], max_length=8)),
                ('start', models.PositiveBigIntegerField(help_text="In samples on the stream's own clock.")),
                ('length', models.PositiveBigIntegerField(help_text='In samples.')),
                ('text', models.TextField()),
                ('words', models.JSONField(blank=True, default=list, help_text='[word, start, length] of each in samples, if the transcriber said so.')),
                ('stream', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='utterances', to='calls.stream')),
            ],
            options={
                'ordering': ['stream', 'start', 'track'],
                'constraints': [models.UniqueConstraint(fields=('stream', 'track', 'start'), name='utterance_once'), models.CheckConstraint(condition=models.Q(('track__in', ['inbound', 'outbound'])), name='utterance_track'), models.CheckConstraint(condition=models.Q(('length__gt', 0)), name='utterance_length'), models.CheckConstraint(condition=models.Q(('text', ''), _negated=True), name='utterance_text')],
            },
        ),
        migrations.RunPython(create, drop),
    ]
