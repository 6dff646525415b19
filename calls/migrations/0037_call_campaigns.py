import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('calls', '0036_find_unmerged_streams'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Campaign',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text="The file's.", max_length=200)),
                ('digest', models.CharField(editable=False, help_text='Of what is in the file and of the handler.', max_length=64)),
                ('size', models.PositiveIntegerField(help_text='How many rows it has.')),
                ('columns', models.JSONField(blank=True, default=list, help_text="The file's other columns, in its order.")),
                ('handler', models.CharField(max_length=100)),
                ('from_number', models.CharField(max_length=255, verbose_name='from')),
                ('machine_detection', models.BooleanField(default=False)),
                ('rate', models.FloatField(help_text='Calls that are placed in a second, at most.')),
                ('at_once', models.PositiveIntegerField(help_text='Calls that run at the same time, at most.')),
                ('quiet_from', models.TimeField(blank=True, help_text='Nobody is called from then on, by their own clock', null=True)),
                ('quiet_to', models.TimeField(blank=True, help_text='... until then.', null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='made')),
                ('created_by', models.CharField(blank=True, help_text='Whose command it was, as the machine knew them.', max_length=150)),
                ('next_at', models.DateTimeField(default=django.utils.timezone.now, help_text='No call is placed before: that is how the rate is kept.')),
                ('seen_at', models.DateTimeField(blank=True, help_text='When a process that runs it last said so.', null=True)),
                ('stopped_at', models.DateTimeField(blank=True, null=True)),
                ('stop_reason', models.CharField(blank=True, help_text='Why it has stopped by itself.', max_length=500)),
                ('finished_at', models.DateTimeField(blank=True, help_text='When none of its rows was left to be called.', null=True)),
                ('stopped_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-id'],
                'default_permissions': ('view',),
            },
        ),
        migrations.CreateModel(
            name='CampaignCall',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('line', models.PositiveIntegerField(help_text='Where it is in the file; the header is line 1.')),
                ('number', models.CharField(blank=True, help_text='Empty once its call was erased.', max_length=255)),
                ('columns', models.JSONField(blank=True, default=dict, help_text="The other columns: the handler's parameters.")),
                ('status', models.CharField(choices=[('waiting', 'Not called yet'), ('calling', 'Being called'), ('placed', 'On the line'), ('over', 'Called'), ('failed', 'Refused'), ('unknown', 'Unknown')], default='waiting', max_length=8)),
                ('not_before', models.DateTimeField(default=django.utils.timezone.now, help_text='Until then it is quiet where the number is.')),
                ('claimed_at', models.DateTimeField(blank=True, null=True)),
                ('error', models.CharField(blank=True, max_length=500)),
                ('call', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='campaign_calls', to='calls.call')),
                ('campaign', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='rows', to='calls.campaign')),
            ],
            options={
                'verbose_name': 'row of a campaign',
                'verbose_name_plural': 'rows of campaigns',
                'ordering': ['line'],
                'default_permissions': (),
            },
        ),
        migrations.AddIndex(
            model_name='campaign',
            index=models.Index(fields=['name', '-id'], name='campaign_by_name'),
        ),
        migrations.AddConstraint(
            model_name='campaign',
            constraint=models.UniqueConstraint(condition=models.Q(('finished_at', None)), fields=('digest',), name='campaign_once'),
        ),
        migrations.AddConstraint(
            model_name='campaign',
            constraint=models.CheckConstraint(condition=models.Q(('rate__gt', 0)), name='campaign_rate'),
        ),
        migrations.AddConstraint(
            model_name='campaign',
            constraint=models.CheckConstraint(condition=models.Q(('at_once__gt', 0)), name='campaign_at_once'),
        ),
        migrations.AddConstraint(
            model_name='campaign',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('quiet_from', None), ('quiet_to', None)), models.Q(('quiet_from__isnull', False), ('quiet_to__isnull', False)), _connector='OR'), name='campaign_quiet'),
        ),
        migrations.AddIndex(
            model_name='campaigncall',
            index=models.Index(condition=models.Q(('status', 'waiting')), fields=['campaign', 'not_before', 'line'], name='campaign_call_due'),
        ),
        migrations.AddIndex(
            model_name='campaigncall',
            index=models.Index(fields=['campaign', 'status'], name='campaign_call_by_status'),
        ),
        migrations.AddConstraint(
            model_name='campaigncall',
            constraint=models.UniqueConstraint(fields=('campaign', 'line'), name='campaign_call_line'),
        ),
        migrations.AddConstraint(
            model_name='campaigncall',
            constraint=models.CheckConstraint(condition=models.Q(('status__in', ['waiting', 'calling', 'placed', 'over', 'failed', 'unknown'])), name='campaign_call_status'),
        ),
        migrations.AddConstraint(
            model_name='campaigncall',
            constraint=models.CheckConstraint(condition=models.Q(('status__in', ['waiting', 'failed']), ('claimed_at__isnull', False), _connector='OR'), name='campaign_call_claimed'),
        ),
    ]
