package main

import (
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/testkit/redistest"
)

func TestPauseAndResume(t *testing.T) {
	const mchid = "1900000001"
	srv := redistest.Start(t)
	env := map[string]string{"REDIS_URL": srv.URL}
	l := ledger.New(srv.Client, mchid)
	pause := func() *ledger.Pause {
		h, err := l.Holds(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return h.Pause
	}
	expect := func(want int, said, complaint string, args ...string) {
		t.Helper()
		status, stdout, stderr := started(t, env, args...)
		if status != want || !strings.Contains(stdout, said) || !strings.Contains(stderr, complaint) || complaint == "" && stderr != "" {
			t.Errorf("%v: exit status %d, %q, %q; want %d, %q, %q", args, status, stdout, stderr, want, said, complaint)
		}
	}
	expect(config.ExitOK, "merchant "+mchid+" was not paused", "", "resume", "--mchid", mchid, "--reason", "just in case")
	// In a Redis without merchants the command cannot know whether the number is right. The next
	// pause finds the merchant, and prints no warning.
	expect(config.ExitOK, "paused: no collect call for merchant "+mchid+" until worker resume\n", "merchant "+mchid+" has no orders in this Redis", "pause", "--mchid", mchid, "--reason", "wrong amounts")
	if p := pause(); p == nil || p.Reason != "wrong amounts" || !strings.HasPrefix(p.By, "cli:") || !p.Until.IsZero() {
		t.Errorf("%+v", p)
	}
	env["WECHATPAY_MCHID"] = mchid
	expect(config.ExitOK, "paused: no collect call for merchant "+mchid+" until 20", "", "pause", "--reason", "for a while", "--for", "2h")
	if p := pause(); p == nil || p.Until.Sub(p.Since) != 2*time.Hour {
		t.Errorf("%+v", p)
	}
	srv.Client.Set(t.Context(), "asynq:{collect:"+mchid+"}:paused", 1, 0)
	expect(config.ExitOK, "resumed: merchant "+mchid, "", "resume", "--reason", "amounts corrected")
	if pause() != nil || srv.Client.Exists(t.Context(), "asynq:{collect:"+mchid+"}:paused").Val() != 0 {
		t.Error("it is still paused")
	}
	trail, _, err := ledger.Audit(t.Context(), []*ledger.Ledger{l}, 10, "")
	if err != nil || len(trail) != 4 {
		t.Errorf("%+v %v", trail, err)
	}

	// In a Redis with merchants it does.
	for _, action := range []string{"pause", "resume"} {
		expect(config.ExitUsage, "", "--mchid is 1900000010, and this Redis has no order and no worker of that merchant: check the number", action, "--mchid", "1900000010", "--reason", "x")
	}
	if h, err := ledger.New(srv.Client, "1900000010").Holds(t.Context()); err != nil || h.Pause != nil {
		t.Errorf("a mistyped number is paused: %+v %v", h.Pause, err)
	}

	expect(config.ExitUsage, "", "--reason is missing; say why", "pause", "--reason", "  ")
	expect(config.ExitUsage, "", "--for is negative", "pause", "--reason", "x", "--for=-1h")
	expect(config.ExitUsage, "", "--for is 99999h0m0s; write a time up to", "pause", "--reason", "x", "--for", "99999h")
	expect(config.ExitUsage, "", "mchid has 'x' at position 1", "pause", "--reason", "x", "--mchid", "x")
	delete(env, "WECHATPAY_MCHID")
	expect(config.ExitUsage, "", "mchid is missing", "pause", "--reason", "x")
	delete(env, "REDIS_URL")
	expect(config.ExitUsage, "", "REDIS_URL is missing", "pause", "--reason", "x", "--mchid", mchid)
	env["REDIS_URL"] = "redis://127.0.0.1:1/0"
	expect(exitFailed, "", "cannot use Redis at", "resume", "--reason", "x", "--mchid", mchid)
}
