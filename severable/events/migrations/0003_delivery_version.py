from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('events', '0002_event_data_version'),
    ]

    operations = [
        migrations.AddField(
            model_name='delivery',
            name='version',
            field=models.PositiveIntegerField(db_default=0, default=0, help_text='Of the event, in its stream'),
        ),
    ]
