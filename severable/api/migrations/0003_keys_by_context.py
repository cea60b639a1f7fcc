import uuid

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('api', '0002_attempts'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='idempotencykey',
            name='api_idempotencykey_once',
        ),
        migrations.AddField(
            model_name='idempotencykey',
            name='context',
            field=models.CharField(default='', help_text='Which owns the route', max_length=50),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='idempotencykey',
            name='claim',
            field=models.UUIDField(default=uuid.uuid4, help_text='The run that has the lock'),
        ),
        migrations.AlterField(
            model_name='idempotencykey',
            name='caller',
            field=models.CharField(help_text="A user, or an anonymous client's network", max_length=100),
        ),
        migrations.AlterField(
            model_name='idempotencykey',
            name='fingerprint',
            field=models.CharField(help_text='Of method, path and body, keyed', max_length=64),
        ),
        migrations.AddConstraint(
            model_name='idempotencykey',
            constraint=models.UniqueConstraint(fields=('context', 'caller', 'key'), name='api_idempotencykey_once'),
        ),
    ]
