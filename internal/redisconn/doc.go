// Package redisconn opens Redis from one URL, whether it is a single server, a
// Sentinel group or a cluster, and checks whether it is fit to keep records of money:
// what is owed lives in Redis, so the start must find an instance that evicts keys or
// forgets them at a restart.
package redisconn
