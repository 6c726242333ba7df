"""A vendor that only lists: ClassMarker's `recent_results` for links, 200 new results a page, made up as they are asked
for. Twenty finish in every second; `python -m benchmarks.listing_vendor PORT`."""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from benchmarks.receive import result

A_SECOND, A_PAGE = 20, 200


def page(after: int) -> bytes:
    """Results that finished after a time (UNIX seconds), oldest first."""
    seconds = [after + 1 + place // A_SECOND for place in range(A_PAGE)]
    rows = []
    for place, second in enumerate(seconds):
        row = dict(result(second * A_SECOND + place % A_SECOND)["result"])  # type: ignore[call-overload]
        row |= {"link_id": 61001, "test_id": 90012, "time_finished": second, "time_started": second - 60}
        # Polled results have other members than webhooks, forty in all.
        row |= {f"extra_info{n}": "" for n in ("", 2, 3, 4, 5)} | {
            "status": "f",
            "access_code": row.pop("access_code_used"),
        }
        rows.append({"result": row})
    return json.dumps(
        {
            "status": "ok",
            "request_path": "v1/links/recent_results",
            "server_timestamp": int(time.time()),
            "finished_after_timestamp_used": after,
            "num_results_available": 100_000,
            "num_results_returned": len(rows),
            "more_results_exist": True,
            "next_finished_after_timestamp": seconds[-1],
            "links": [{"link": {"link_id": 61001, "link_name": "Partners"}}],
            "tests": [{"test": {"test_id": 90012, "test_name": "Product quiz"}}],
            "results": rows,
        }
    ).encode()


class Listing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query).get("finishedAfterTimestamp")
        body = page(int(asked[0])) if asked else b"{}"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Listing).serve_forever()
