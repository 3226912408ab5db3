"""The sink keeps the promises of its kind."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from proxy_core.testing import LogSinkConformance, plugin_context
from proxy_plugin_otel import proxy_log_sinks


class Accepts(BaseHTTPRequestHandler):
    """A collector that takes everything."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *words):
        pass


@pytest.fixture(scope="module")
def collector():
    with ThreadingHTTPServer(("127.0.0.1", 0), Accepts) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/logs"
        server.shutdown()
        thread.join()


class TestRecords(LogSinkConformance):
    @pytest.fixture
    def sink(self, collector, tmp_path):
        settings = {"plugins": {"otel": {"records_endpoint": collector}}}
        [sink] = proxy_log_sinks(plugin_context("otel", settings, folder=tmp_path))
        return sink
