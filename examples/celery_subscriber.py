"""A stock Celery worker that receives attempt events as tasks.

    GRADEBOOK_BROKER=redis://localhost:6379/1 celery -A celery_subscriber worker --queues gradebook

Environment: GRADEBOOK_BROKER (address of the broker), GRADEBOOK_QUEUE (gradebook).
In bridge.yaml: {transport: celery, task: gradebook.attempt_completed, queue: gradebook, broker: ${GRADEBOOK_BROKER}}
"""

import json
import os
import ssl
from urllib.parse import urlsplit

from celery import Celery

broker = os.environ.get("GRADEBOOK_BROKER", "redis://localhost:6379/1")
app = Celery("gradebook", broker=broker)
# By default Celery verifies no certificate. Your own CA: rediss://...?ssl_ca_certs=/path; for amqps add ca_certs below.
app.conf.broker_use_ssl = {
    "rediss": {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True},
    "amqps": {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": urlsplit(broker).hostname},
}.get(urlsplit(broker).scheme, False)
app.conf.task_default_queue = os.environ.get("GRADEBOOK_QUEUE", "gradebook")
app.conf.task_acks_late = True  # the task of a worker that dies runs again, so an event may arrive twice
app.conf.task_ignore_result = True
app.conf.worker_redirect_stdouts = False
app.conf.broker_connection_retry_on_startup = True
# Without socket time-outs, a broker that stops answering blocks a worker forever; with the default visibility time-out,
# a dead worker's message returns only after an hour.
app.conf.broker_transport_options = {
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
    "visibility_timeout": 300,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
}
seen = set()  # a real service stores the ids of handled events in its database, with a unique index


@app.task(name="gradebook.attempt_completed")
def attempt_completed(event):
    if event["id"] in seen or event.get("bridgetest"):  # a test is about an invented attempt
        return
    attempt = event["data"]["attempt"]
    line = {"received": event["id"], "type": event["type"], "attempt": attempt["id"], "revision": attempt["revision"]}
    print(json.dumps(line), flush=True)
    seen.add(event["id"])
