// Package chaos attacks the six promises and judges what is left of them. Its
// tests run real worker processes against a real redis-server and the simulator
// while a nemesis kills, stops, cuts off, fills, deletes and lies, all by a
// schedule drawn from one seed; then every order of the ledger is held against
// the platform's own record of each call.
//
//	go test -v ./test/chaos -chaos=short                  about a minute; needs a redis-server
//	go test -v ./test/chaos -chaos=long -timeout 40m      100,000 orders, every fault there is
//	go test -v ./test/chaos -chaos=topologies             six minutes: standalone, Sentinel, Cluster
//	go test -v ./test/chaos -chaos=mutants -timeout 20m   the harness must notice what was broken on purpose
//	go test -v ./test/chaos -chaos=short -chaos.seed=N    the same schedule of faults again
//
// A seed repeats the schedule: which fault, when, to which process, with which
// parameters, and which calls the platform answers wrongly. It cannot repeat
// how the processes interleave.
//
// # The verdict
//
// Each row of the table counts breaches of a promise, and all must be zero. Some
// events look like breaches, and no program can prevent them: a process that
// was frozen between its last look at the clock and the write of its request
// sends that request when it thaws. Those are counted apart, under "beyond
// physics", and only where the cause is proven: workers of this build write down
// each point of each step (package faultpoint), and the nemesis what it did to
// which process and when. What has no proven cause is a breach.
//
// Billing receives events and webhooks, and books each payment once, under its
// transaction_id. Record and books are compared with the platform's own list of
// payments, fen by fen; orders are paid in parts, partly elsewhere, and after
// their total was lowered. The ledger's counters, of the recovery too, must equal a
// recount of its records.
//
// An operator pauses and resumes the merchant, and collects and withdraws orders, one by
// one and in bulk. While the merchant is paused no collect call may be granted: one that
// was granted before leaves in its turn, which is counted apart. The trail must have each
// deed once.
//
// Redis's clock is set by minutes and hours, between any two commands. It has to
// measure leases, gaps and ages, so a jump ahead ends them too soon. What follows
// from that is counted apart where the harness's own list of jumps proves it, and
// how large the jump was; a jump back excuses nothing.
//
// Replicas follow their master asynchronously, so a failover loses what was
// written last. In those topologies billing does at the end what docs/operations.md asks
// for after a failover: it hands its orders over again, and withdraws again what
// it had withdrawn. What was lost is counted apart, too, and only where it was
// written shortly before, or during, a failover.
package chaos
