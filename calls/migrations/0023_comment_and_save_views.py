"""Comments on moments of calls, with search for any part of them on PostgreSQL, and the list's saved views."""

import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


INDEX = "CREATE INDEX comment_search_text ON calls_comment USING gin (UPPER(text) gin_trgm_ops)"


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(INDEX)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX IF EXISTS comment_search_text")


class Migration(migrations.Migration):

    dependencies = [
        ('calls', '0022_order_by_figures'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Comment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at_samples', models.PositiveBigIntegerField(blank=True, help_text='Where in the recording, in samples; nothing if it is about the whole call.', null=True)),
                ('text', models.TextField()),
                ('name', models.CharField(help_text='Who wrote it, even when that user is gone.', max_length=150)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('edited_at', models.DateTimeField(blank=True, null=True)),
                ('resolved_at', models.DateTimeField(blank=True, null=True)),
                ('call', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='comments', to='calls.call')),
                ('resolved_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['call', 'id'],
                'permissions': [('delete_comment', "Can delete other people's comments")],
                'default_permissions': (),
                'indexes': [models.Index(fields=['call', 'id'], name='comment_by_call'), models.Index(condition=models.Q(('resolved_at', None)), fields=['call'], name='comment_open')],
                'constraints': [models.CheckConstraint(condition=models.Q(('text', ''), _negated=True), name='comment_text'), models.CheckConstraint(condition=models.Q(('resolved_by', None), ('resolved_at__isnull', False), _connector='OR'), name='comment_resolved')],
            },
        ),
        migrations.CreateModel(
            name='SavedView',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=60)),
                ('query', models.CharField(help_text="The list's query string, in the order of its names.", max_length=2000)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('user', models.ForeignKey(blank=True, help_text="Nobody: it is everybody's.", null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'saved view',
                'ordering': ['name', 'id'],
                'permissions': [('share_views', 'Can save views for everybody')],
                'default_permissions': (),
                'constraints': [models.UniqueConstraint(models.F('user'), django.db.models.functions.text.Lower('name'), name='saved_view_own_name'), models.UniqueConstraint(django.db.models.functions.text.Lower('name'), condition=models.Q(('user', None)), name='saved_view_everybodys_name'), models.CheckConstraint(condition=models.Q(('query', ''), _negated=True), name='saved_view_query')],
            },
        ),
        migrations.RunPython(create, drop),
    ]
