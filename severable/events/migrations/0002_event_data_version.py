from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('events', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='event',
            name='data_version',
            field=models.PositiveSmallIntegerField(db_default=1, default=1, help_text='Of what the data means: protos/upcasters.py'),
        ),
    ]
