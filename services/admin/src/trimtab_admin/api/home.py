"""The page at the root, for a person who opens the address in a browser. It needs no API token.

It is the same for everyone and names nothing of the installation.
"""

import base64
import hashlib

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from trimtab_admin.api.operation import PREFIX
from trimtab_admin.api.problems import DESCRIPTION

PATHS = ("/", PREFIX)

_STYLE = "body{font:1em/1.5 sans-serif;max-width:42em;margin:3em auto;padding:0 1em}"
_PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Trimtab</title>
<style>{_STYLE}</style>
<h1>Trimtab</h1>
<p>This is the API of Trimtab, which manages the settings of a workflow platform: the customizable
resources of its domains, projects, workflows and launch plans, and the pools that they share.</p>
<p>There is no console here. Use the command line, or HTTP:</p>
<pre>trimtab --help
trimtab get kinds
curl -H "Authorization: Bearer $TRIMTAB_TOKEN" http://<em>this address</em>{PREFIX}/kinds</pre>
<p>The API is at <code>{PREFIX}</code>; <code>{DESCRIPTION}</code> is its OpenAPI document.</p>
<p>Every call needs an API token, unless this installation has none. <code>trimtab up</code> prints
the path of its token, which the command line finds in the data directory. An admin makes others
with <code>trimtab token create NAME --grant viewer</code>, and <code>TRIMTAB_TOKEN</code> holds
yours.</p>
</html>
"""
_SUMMARY = {
    "name": "Trimtab",
    "api": PREFIX,
    "openapi": DESCRIPTION,
    "authorization": "Bearer <API token>; an admin makes one with `trimtab token create`",
}
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept",
}


def routes() -> list[Route]:
    return [Route(path, _home) for path in PATHS]


async def _home(request: Request) -> Response:
    accepted = request.headers.get("accept", "")
    if "application/json" in accepted and "text/html" not in accepted:
        return JSONResponse(_SUMMARY, headers=_HEADERS)
    return HTMLResponse(_PAGE, headers=_HEADERS)
