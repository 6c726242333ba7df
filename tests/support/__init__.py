"""Helpers of tests, one module per subject. A test file imports from here, never from another test file.

browser          a real headless Chromium, pages that complain
child_processes  parts of the bridge as child processes, and what they print
classmarker      a simulated ClassMarker account and a bridge that receives and polls it, over real HTTP
cli              a command of `attempt-bridge` in the process of the test
clients          clients of services without a network
cluster          a real cluster of state servers, and what operators and faults do to it
commands         `attempt-bridge` commands as processes, and the processes below them
comparison       what the journal and receivers hold, against what was sent
contract/        vendors on a stage: the engine, the fixtures, HTTP in front of a simulator
coremetrix       Coremetrix' client over the simulated vendor or given answers
dashboard        the dashboard without a browser: pages as text, forms as a browser sends them
deliveries_ui    two subscriptions for the pages of deliveries, and events that they refuse
dispatch         lanes over a real state server, receivers that fail on purpose
dripping         a server that answers a byte at a time
erasing          a bridge in which every place holds something of two persons
events           events as the pipeline builds them, at random
forked           programs as forks of a process that has imported the bridge
forked_imports   what that process imports
http_bridge      the web application over HTTP, in a thread of the test
inbox            a subscriber over HTTP that takes everything
journal          submissions to the journal, and what became of them
junk             messages that nobody can use, for queues that others can write to
kafka            a Kafka cluster, and a broker that refuses everybody
loggers          logging of one test does not reach the next one
lrs              a strict learning record store over HTTP
marks            the marks `server`, `process` and `rabbitmq`, and the guard that nothing starts without them
measuring        where coverage is measured
mutants          scripts with one line changed
notified         services that get messages: a chat over HTTP, a mail server
otlp             an OTLP receiver that parses what it gets
one_slot         scripts and transactions of several hash tags fail
partitions       how many partitions stores have where a test names no number, and what is in all of them
pointing         a made-up vendor with pointers, expectations, consent and second sittings
polling          a made-up vendor with a list, and services around it
published        events of invented attempts in the journal
pushing          the client for receivers, called without a loop of one's own
postgresql       a PostgreSQL server of the distribution
promql           what a PromQL expression needs of /metrics
proxy            a TCP proxy that loses replies
rabbitmq         nodes of RabbitMQ that form a cluster
receipts         a bridge whose subscription awaits receipts
replicas         a primary whose replica lags, freezes or is promoted
reports          reports of tests between the processes of xdist
requests_ui      signed webhooks, hostile texts and form tokens for the pages of requests
schemas          the schema of CloudEvents, and what is wrong with a document
screens          pictures of every page of the dashboard, for docs/screens
sentinel         a primary, two replicas and three sentinels
servers          a state server, an HTTP server, programs of the distribution
site             walks through the dashboard by its links
sql_tables       a database of each kind for `transport: sql`, and events to write
tls              certificates of a CA of its own, and a TLS listener in front of a plain server
url_rules        applications of one process share what is compiled for equal URL rules
tracing          a tracer that keeps the spans which have ended
traffic          webhooks without a pause, each sent until it is acknowledged
vendor_folders   vendor folders and installed packages that a test writes, found by the registry
waiting          waiting for conditions instead of sleeping
watches_api      services, tokens and an expectation for the API and the command `watches`
watching         moments and simulated traffic for budgets and alarms
web              a web process, signed webhooks, captured logs
writers          threads that publish until each attempt is acknowledged
workers          worker, beat and dispatch as processes, at a vendor whose API is the test's own
"""
