# What is run often. Everything that CI runs is in .ci/run.

.PHONY: test bench attack demo

test:
	go test ./...

# Ratios to a plain asynq handler, as a table; under ten minutes. See docs/performance.md.
bench:
	go run ./tools/bench

# The promises under attack, 100,000 orders; about twenty minutes. See docs/promises.md.
attack:
	go test -v ./test/chaos -run '^TestAttack$$' -chaos=long -timeout 40m

demo:
	go run ./cmd/demo
