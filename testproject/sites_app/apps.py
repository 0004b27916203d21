from django.apps import AppConfig


class SitesConfig(AppConfig):
    name = "sites_app"
    label = "igny8_sites"  # "sites" belongs to django.contrib.sites
    verbose_name = "Published sites"
