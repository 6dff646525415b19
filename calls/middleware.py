"""What browsers may do with our pages: every page of the admin and of the API says so."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from calls.addresses import ADMIN, API, API_DOCS


# Callers choose their names and parameters: even if one of them found a way around the escaping, nothing would run.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)


class AdminPolicyMiddleware(MiddlewareMixin):
    """Every page of the admin and of the API, Django's and Ninja's too, runs nothing but our own files."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if request.path.startswith((f"/{ADMIN}", f"/{API}")):
            response["Content-Security-Policy"] = _policy(request.path)
            response["X-Content-Type-Options"] = "nosniff"
        return response


def _policy(path: str) -> str:
    """Swagger UI draws its arrows as images in its style sheet."""
    images = "img-src 'self' data:" if path == f"/{API_DOCS}" else "img-src 'self'"
    return CONTENT_SECURITY_POLICY.replace("img-src 'self'", images)
