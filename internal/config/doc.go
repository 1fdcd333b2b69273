// Package config turns environment variables and flags into one validated
// value, read once at the start.
//
// Every setting is an environment variable and also a flag of the same name in
// kebab case (REDIS_URL, --redis-url); the flag wins. An environment variable
// that is set to nothing counts as not set, but for ADMIN_ADDR, where it means
// off.
//
// It happens in two steps. Parse fills the flag groups of this package
// (RedisFlags, WorkerFlags, ...), all strings, so that the first malformed
// duration does not hide the missing key file behind it. Then Load of
// WorkerSettings or ClientSettings, or Resolve of a single group, gives the
// strings their types and reports everything that is wrong at once, by name.
package config
