package redisconn

import (
	"fmt"
	"strconv"
	"strings"
)

// The oldest Redis that works: since 6.2 asynq can archive a task.
const (
	minMajor = 6
	minMinor = 2
)

// memoryWarning is the share of maxmemory that calls for action. At the limit Redis
// refuses even to give a worker a task from the queue.
const memoryWarning = 0.6

// check checks one node.
func (n info) check() Report {
	if n.fields["redis_version"] == "" {
		return Report{{
			Level: Warning, Node: n.node, Subject: "info",
			Text: "this Redis does not answer INFO (an embedded one, or a user without the right): check yourself that maxmemory-policy is noeviction, that AOF is on, and that the version is 6.2 or later",
		}}
	}
	if n.fields["redis_mode"] == "sentinel" {
		return nil // it stores no keys, see checkMode
	}
	findings := []Finding{n.version(), n.role(), n.eviction(), n.persistence(), n.fullness()}
	if n.fields["rdb_last_bgsave_status"] == "err" {
		findings = append(findings, Finding{Level: Warning, Subject: "snapshot", Text: "the last snapshot could not be written; with stop-writes-on-bgsave-error Redis refuses every write until one can: Redis's log has the cause, usually a full disk or a directory that Redis may not write to"})
	}
	for i := range findings {
		findings[i].Node = n.node
	}
	return findings
}

func (n info) version() Finding {
	version := n.fields["redis_version"]
	f := Finding{Level: OK, Subject: "version", Text: version}
	major, minor, ok := parseVersion(version)
	switch {
	case !ok:
		f.Level = Warning
		f.Text = fmt.Sprintf("%q is not understood: it must be able to do what Redis %d.%d can", version, minMajor, minMinor)
	case major < minMajor || major == minMajor && minor < minMinor:
		// A proxy may have its own version; a Redis that is too old fails the probe.
		f.Level = Warning
		f.Text = fmt.Sprintf("%s is older than Redis %d.%d, which is needed; if it is a proxy's own version, the probe below decides", version, minMajor, minMinor)
	}
	return f
}

func parseVersion(s string) (major, minor int, ok bool) {
	parts := strings.Split(s, ".")
	if len(parts) < 2 {
		return 0, 0, false
	}
	major, errMajor := strconv.Atoi(parts[0])
	minor, errMinor := strconv.Atoi(parts[1])
	return major, minor, errMajor == nil && errMinor == nil
}

// role finds an address that leads to a replica, which would refuse every write.
func (n info) role() Finding {
	if role := n.fields["role"]; role == "slave" {
		r := Explain(reply("READONLY"))
		r.Said = "INFO: role:slave"
		return refused("role", r)
	}
	return Finding{Level: OK, Subject: "role", Text: "master"}
}

// eviction checks maxmemory-policy. An evicted order is money forgotten, and after
// asynq's lease is evicted, asynq never recovers the task. Redis gives no error for
// either.
func (n info) eviction() Finding {
	const subject = "maxmemory-policy"
	switch policy := n.fields["maxmemory_policy"]; policy {
	case "noeviction":
		return Finding{Level: OK, Subject: subject, Text: policy}
	case "":
		return Finding{Level: Warning, Subject: subject, Text: "Redis does not report it: check that it is noeviction"}
	default:
		return Finding{Level: Problem, Subject: subject, Text: fmt.Sprintf(
			`%s lets Redis throw away what is owed: run "redis-cli CONFIG SET maxmemory-policy noeviction", and write "maxmemory-policy noeviction" into redis.conf so that it outlives a restart; on a managed service set the parameter maxmemory-policy in its console`, policy)}
	}
}

func (n info) persistence() Finding {
	f := Finding{Level: OK, Subject: "persistence", Text: "AOF is on"}
	switch {
	case n.fields["aof_enabled"] == "":
		f.Level = Warning
		f.Text = "Redis does not report whether AOF is on: without it a restart loses the latest changes"
	case n.fields["aof_enabled"] != "1":
		f.Level = Warning
		f.Text = `AOF is off, so a restart loses every order accepted and every result recorded since the last snapshot, or all of them: run "redis-cli CONFIG SET appendonly yes", and write "appendonly yes" into redis.conf so that it outlives a restart`
	case n.fields["aof_last_write_status"] == "err":
		f.Level = Warning
		f.Text = "AOF is on, but its last write failed: look for a full disk in Redis's log"
	}
	return f
}

func (n info) fullness() Finding {
	const subject = "memory"
	used, limit, ok := n.memory()
	switch {
	case !ok:
		return Finding{Level: Warning, Subject: subject, Text: "Redis does not report how much it uses"}
	case limit == 0:
		return Finding{Level: OK, Subject: subject, Text: fmt.Sprintf("%s used, no limit set", mebibytes(used))}
	case share(used, limit) >= memoryWarning:
		return Finding{Level: Warning, Subject: subject, Text: fmt.Sprintf(
			`%s of %s used (%.0f %%): at the limit Redis refuses every write and collecting stops; raise it with "redis-cli CONFIG SET maxmemory BYTES"`,
			mebibytes(used), mebibytes(limit), 100*share(used, limit))}
	}
	return Finding{Level: OK, Subject: subject, Text: fmt.Sprintf("%s of %s used (%.0f %%)", mebibytes(used), mebibytes(limit), 100*share(used, limit))}
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
