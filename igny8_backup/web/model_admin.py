"""The pages about backups in Django's admin: URLs, permissions and views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from igny8_backup.models import Backup

# Everything else of the package is imported when a page is shown: a missing dependency, which a check
# reports, must not keep the project from starting.
if TYPE_CHECKING:
    from igny8_backup.web.pages import Page

    _ModelAdmin = admin.ModelAdmin[Backup]
else:
    _ModelAdmin = admin.ModelAdmin


class BackupAdmin(_ModelAdmin):
    """The backups in the admin. They cannot be added, changed or deleted there.

    All pages need the permission ``igny8_backup.view_backup``, and show only the status document. If you have
    an ``AdminSite`` of your own, register this class there: ``site.register(Backup, BackupAdmin)``.
    """

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Backup | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Backup | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        # The names are those of every admin, so that its menu, its index and its history link to the pages.
        wrap, name = self.admin_site.admin_view, "igny8_backup_backup"
        return [
            path("", wrap(self.overview_view), name=f"{name}_changelist"),
            path("all/", wrap(self.list_view), name=f"{name}_list"),
            path("run/<str:run_id>/", wrap(self.run_view), name=f"{name}_run"),
            path("do/<str:action>/", wrap(self.action_view), name=f"{name}_do"),
            path("<str:backup_id>/", wrap(self.backup_view), name=f"{name}_change"),
        ]

    def overview_view(self, request: HttpRequest) -> HttpResponse:
        """Show the state of all backups."""
        self._require_viewer(request)
        from igny8_backup.web import pages

        return self._show(request, pages.overview_page())

    def list_view(self, request: HttpRequest) -> HttpResponse:
        """List all backups, newest first, in pages of 100."""
        self._require_viewer(request)
        from igny8_backup.web import pages

        return self._show(request, pages.list_page(request.GET.get("page", "1")))

    def backup_view(self, request: HttpRequest, backup_id: str) -> HttpResponse:
        """Show one backup."""
        self._require_viewer(request)
        from igny8_backup.web import pages

        return self._show(request, pages.backup_page(backup_id))

    def run_view(self, request: HttpRequest, run_id: str) -> HttpResponse:
        """Show one run, and what to do if it failed."""
        self._require_viewer(request)
        from igny8_backup.web import pages

        return self._show(request, pages.run_page(run_id))

    def action_view(self, request: HttpRequest, action: str) -> HttpResponse:
        """Queue the task of a button, and redirect to the page with the button."""
        self._require_viewer(request)
        from igny8_backup.errors import BackupError
        from igny8_backup.web import actions, pages

        backup_id = request.POST.get("backup", "")
        if action not in actions.ACTIONS or (backup_id and pages.backup_page(backup_id) is None):
            raise Http404("There is no such button, or no such backup.")
        if not self._may(request, actions.PERMISSIONS[action]):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if action != "back-up" and not backup_id:
            raise Http404("The button needs a backup.")
        try:
            made = actions.ACTIONS[action](backup_id, request.POST)
            messages.success(request, actions.carry_out(made, request.user.pk))
        except BackupError as error:
            messages.error(request, str(error))
        name = "admin:igny8_backup_backup"
        site = self.admin_site.name
        if backup_id:
            return redirect(reverse(f"{name}_change", args=[backup_id], current_app=site))
        return redirect(reverse(f"{name}_changelist", current_app=site))

    def _may(self, request: HttpRequest, codename: str) -> bool:
        return bool(request.user.has_perm(f"{self.opts.app_label}.{codename}"))

    def _require_viewer(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _show(self, request: HttpRequest, page: Page | None) -> HttpResponse:
        if page is None:
            raise Http404("The status of the backups does not name it.")
        from igny8_backup.web.actions import buttons

        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            **buttons(lambda codename: self._may(request, codename)),
            "title": page.title,
            "opts": self.opts,
            **page.facts,
        }
        return TemplateResponse(request, f"admin/igny8_backup/backup/{page.template}.html", context)
