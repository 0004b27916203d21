"""The admin, and a health page that queries the database."""

from __future__ import annotations

from accounts.models import Account
from django.contrib import admin
from django.http import HttpRequest, JsonResponse
from django.urls import path


def health(request: HttpRequest) -> JsonResponse:
    """Answer 200 with the number of active accounts."""
    return JsonResponse({"active_accounts": Account.objects.filter(is_active=True).count()})


urlpatterns = [
    path("admin/", admin.site.urls),
    path("healthz", health),
]
