// Package config turns environment variables and flags into one validated
// value, read once at the start.
//
// Every setting is an environment variable and also a flag of the same name in
// kebab case (REDIS_URL, --redis-url); the flag wins. An environment variable
// that is set to nothing counts as not set, except for ADMIN_ADDR, where it means
// off.
//
// A setting is one field of a group in declared.go: its type and its tags hold its
// name, default and rule. Parse reads every value, so that the first malformed
// duration does not hide the missing key file behind it. Then Load of
// WorkerSettings or ClientSettings, or Resolve of a single group, checks what
// several values must have in common, and returns everything that is wrong at
// once, by name.
package config
