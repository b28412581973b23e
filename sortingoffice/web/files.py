"""Files that every browser may have: the sheet, the script, the icons, the manifest of the installed app.

Sources: W3C Web Application Manifest; the Web Share Target proposal.
"""

from __future__ import annotations

import json
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from sortingoffice.web.rendering import static

_TYPES = {
    "office.css": "text/css",
    "office.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "icon-192.png": "image/png",
    "icon-512.png": "image/png",
}
_FOLDER = files("sortingoffice.web").joinpath("static")
_SAFE = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'"}


def routes() -> list[BaseRoute]:
    return [
        Route("/static/{name}", _static, methods=["GET"]),
        Route("/manifest.webmanifest", _manifest, methods=["GET"]),
        Route("/robots.txt", _robots, methods=["GET"]),
    ]


async def _static(request: Request) -> Response:
    """Kept for good where the address names the content's version."""
    name = request.path_params["name"]
    if name not in _TYPES:
        return PlainTextResponse("there is nothing at this path\n", 404)
    kept = "public, max-age=31536000, immutable" if "v" in request.query_params else "no-cache"
    return Response(
        _FOLDER.joinpath(name).read_bytes(),
        media_type=_TYPES[name],
        headers={"Cache-Control": kept, **_SAFE},
    )


async def _manifest(request: Request) -> Response:
    """Opened from the home screen, the app makes an address; a page shared to it names the site."""
    document = {
        "name": "Sorting Office",
        "short_name": "Sorting",
        "description": "A new address for each vendor.",
        "id": "/new",
        "start_url": "/new",
        "scope": "/",
        "display": "standalone",
        "background_color": "#f6f4ef",
        "theme_color": "#14594f",
        "icons": [
            {
                "src": static("icon-192.png"),
                "sizes": "192x192",
                "type": "image/png",
                "purpose": "any maskable",
            },
            {
                "src": static("icon-512.png"),
                "sizes": "512x512",
                "type": "image/png",
                "purpose": "any maskable",
            },
            {"src": static("icon.svg"), "sizes": "any", "type": "image/svg+xml"},
        ],
        "shortcuts": [
            {"name": "New address", "url": "/new"},
            {"name": "Addresses", "url": "/"},
            {"name": "Held mail", "url": "/held"},
        ],
        "share_target": {
            "action": "/new",
            "method": "GET",
            "enctype": "application/x-www-form-urlencoded",
            "params": {"title": "title", "text": "text", "url": "url"},
        },
    }
    return Response(
        json.dumps(document),
        media_type="application/manifest+json",
        headers={"Cache-Control": "max-age=3600", **_SAFE},
    )


async def _robots(request: Request) -> Response:
    return PlainTextResponse("User-agent: *\nDisallow: /\n")
