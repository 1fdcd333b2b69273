// Package docs runs what the documents show: the examples in other languages, the commands
// of the runbook, and a client that is generated from the document of the HTTP API. Each
// meets real processes: a redis-server, a simulator and a worker.
package docs
