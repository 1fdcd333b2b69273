package main

import (
	"bytes"
	"encoding/json"
	"net"
	"strings"
	"testing"

	"payscore-collector/internal/config"
	"payscore-collector/internal/testkit/configtest"
	"payscore-collector/internal/testkit/redistest"
)

// started is what a worker that did not start has written.
func started(t *testing.T, env map[string]string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = run(t.Context(), config.Process{
		Name: "worker", Args: args, Stdout: &out, Stderr: &err,
		LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	})
	return status, out.String(), err.String()
}

// A worker that cannot start says why once, in the form of the log.
func TestErrorsAtTheStart(t *testing.T) {
	t.Run("a setting a line, as JSON", func(t *testing.T) {
		status, stdout, stderr := started(t, map[string]string{"REDIS_URL": "redis://cache:x", "LOG_LEVEL": "loud"})
		if status != config.ExitUsage || stdout != "" {
			t.Errorf("exit status %d, standard output %q", status, stdout)
		}
		settings := map[string]int{}
		for line := range strings.Lines(stderr) {
			var l struct{ Level, Event, Setting, Message string }
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatalf("%v in %q", err, line)
			}
			if l.Level != "error" || l.Event != "setting_refused" || !strings.HasPrefix(l.Message, l.Setting+" ") {
				t.Errorf("line %q", line)
			}
			settings[l.Setting]++
		}
		for _, want := range []string{"REDIS_URL", "LOG_LEVEL", "WECHATPAY_MCHID", "WECHATPAY_PRIVATE_KEY_FILE"} {
			if settings[want] != 1 {
				t.Errorf("%s is in %d lines:\n%s", want, settings[want], stderr)
			}
		}
	})

	t.Run("with the misspelt variable that explains what is missing", func(t *testing.T) {
		var out bytes.Buffer
		run(t.Context(), configtest.Process("worker", map[string]string{"WECHATPAY_MCH_ID": "1900000001", "LOG_FORMAT": "console"}, nil, &out))
		if !strings.Contains(out.String(), "WRN WECHATPAY_MCH_ID is set, but there is no such setting; WECHATPAY_MCHID is the nearest") ||
			!strings.Contains(out.String(), "ERR WECHATPAY_MCHID is missing") {
			t.Errorf("standard error:\n%s", out.String())
		}
	})

	t.Run("for people with LOG_FORMAT=console", func(t *testing.T) {
		status, _, stderr := started(t, map[string]string{"LOG_FORMAT": "console"})
		if status != config.ExitUsage || !strings.Contains(stderr, "ERR REDIS_URL is missing: write where Redis is") || strings.Contains(stderr, "{") {
			t.Errorf("exit status %d, standard error:\n%s", status, stderr)
		}
	})

	t.Run("an address that is taken", func(t *testing.T) {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		env := configtest.MerchantEnv(t)
		env["REDIS_URL"], env["ADMIN_ADDR"] = redistest.Start(t).URL, taken.Addr().String()
		status, _, stderr := started(t, env)
		if status == config.ExitOK || strings.Count(stderr, "start_failed") != 1 {
			t.Errorf("exit status %d, standard error:\n%s", status, stderr)
		}
		last := stderr[strings.LastIndex(strings.TrimSuffix(stderr, "\n"), "\n")+1:]
		var l struct{ Level, Event, Error string }
		if err := json.Unmarshal([]byte(last), &l); err != nil || l.Level != "error" || l.Event != "start_failed" || !strings.Contains(l.Error, "ADMIN_ADDR") {
			t.Errorf("%v: the last line is %q", err, last)
		}
	})
}
