// Package redisconn opens Redis from one URL, whether it is a single server, a
// Sentinel group or a cluster, and says whether it is fit to keep money's
// records: what is owed lives in Redis, so an instance that evicts keys or
// forgets them at a restart is found out at the start and not by an auditor.
package redisconn
