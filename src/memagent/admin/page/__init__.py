"""The page: what an operator keeps open in a browser.

    index.html ─▶ main.js ─▶ a view for each address behind the #
                    │
                    ├── /page/session    who am I? log in, log out (a cookie)
                    ├── /v1/watch        server-sent events: a frame a second, the same for all pages
                    ├── /v1/history      the last hour
                    ├── /v1/survey       all keys, counted: progress, then a result
                    └── /v1/...          everything else, as any client of the API

    routes     its paths
    assets     its files
    watch      one reading for all pages, made into frames
    history    the last hour, in bounded memory
    fill       how full servers are
    actions    what may be done to a server now, and what it will do
    what_if    which keys a change would move
    shares     how much of its ring each has

- The page knows nothing that the API does not tell, and may do nothing that its token may not.
- Whatever is text becomes text in the page (textContent); nothing of it is ever read as HTML.
"""
