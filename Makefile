# Frequent commands. .ci/run has everything that CI runs.

.PHONY: test bench attack demo

test:
	go test ./...

# A table of ratios to a plain asynq handler; about five minutes. See docs/performance.md.
bench:
	go run ./tools/bench

# The promises under attack, 100,000 orders; about twenty minutes. See docs/promises.md.
attack:
	go test -v ./test/chaos -run '^TestAttack$$' -chaos=long -timeout 40m

demo:
	go run ./cmd/demo
