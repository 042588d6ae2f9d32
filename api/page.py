"""The page's own files that must lie at the root: itself, its service worker, its manifest.

A service worker rules only what lies below it, so it cannot come from ``/ui``.
"""

from flask import Blueprint, Response, current_app

from api.endpoints import endpoint


def blueprint() -> Blueprint:
    """Return the routes of this room; what they send is public, whoever asks."""
    routes = Blueprint("page", __name__)

    @routes.get("/")
    @endpoint(needs=None, answers="text/html")
    def page() -> Response:
        """The page."""
        return current_app.send_static_file("index.html")

    @routes.get("/service-worker.js")
    @endpoint(needs=None, answers="text/javascript")
    def service_worker() -> Response:
        """What keeps the page's frame and shows notifications."""
        return current_app.send_static_file("service-worker.js")

    @routes.get("/manifest.webmanifest")
    @endpoint(needs=None, answers="application/manifest+json")
    def manifest() -> Response:
        """What makes the page an app on a phone."""
        response = current_app.send_static_file("manifest.webmanifest")
        response.mimetype = "application/manifest+json"
        return response

    return routes
