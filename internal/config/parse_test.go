package config

import (
	"bytes"
	"errors"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/textsafe"
)

type workerGrammar struct {
	WorkerSettings
	DatabaseFlags
	Run   struct{} `cmd:"" default:"1" help:"Run."`
	Check struct{} `cmd:"" help:"Check."`
}

func TestParse(t *testing.T) {
	t.Run("every setting is a variable and a flag of the same name in kebab case", func(t *testing.T) {
		r := parse(t, &workerGrammar{}, nil, "--help")
		if r.ok || r.status != ExitOK || r.stderr != "" {
			t.Fatalf("--help ended with %d, standard error %q", r.status, r.stderr)
		}
		for _, d := range AllDeclared() {
			name, flag := d.Name, "--"+strings.ReplaceAll(strings.ToLower(d.Name), "_", "-")
			// The flag begins a line, and its variable comes before the next flag.
			shown := regexp.MustCompile(`(?m)^ +` + flag + `=[^\n]*\n?(?:[^-$]|-[^-])*\(\$` + name + `\)`)
			if !shown.MatchString(r.stdout) {
				t.Errorf("--help does not show %s with $%s:\n%s", flag, name, r.stdout)
			}

			for _, r := range []run{
				parse(t, &workerGrammar{}, map[string]string{name: "v"}),
				parse(t, &workerGrammar{}, nil, flag+"=v"),
				parse(t, &workerGrammar{}, map[string]string{name: "other"}, flag, "v"),
			} {
				for _, s := range r.found.settings {
					if s.given != (s.Name == name) || s.given && s.text != "v" {
						t.Errorf("%s and %s: %s is %q, given %v", name, flag, s.Name, s.text, s.given)
					}
				}
			}
		}
	})

	t.Run("--version says which build it is, even if arguments are missing", func(t *testing.T) {
		var s struct {
			Sub struct {
				Needed string `arg:""`
			} `cmd:""`
		}
		r := parse(t, &s, nil, "--version")
		if r.ok || r.status != ExitOK || r.stderr != "" || !strings.HasPrefix(r.stdout, "worker version ") || !strings.Contains(r.stdout, runtime.Version()) {
			t.Errorf("status %d, standard output %q, standard error %q", r.status, r.stdout, r.stderr)
		}
	})

	t.Run("a secret of this environment is not repeated, though it has the form of words", func(t *testing.T) {
		const passphrase = "correct horse battery"
		for _, args := range [][]string{{passphrase}, {"check", passphrase}, {"--" + passphrase}, {"--redis-url", "redis://:x@h", "--colour=" + passphrase, passphrase}} {
			for _, env := range []map[string]string{{"ADMIN_TOKEN": passphrase}, {"REDIS_URL": "redis://:" + strings.ReplaceAll(passphrase, " ", "%20") + "@cache"}} {
				r := parse(t, &workerGrammar{}, env, args...)
				if r.status != ExitUsage || strings.Contains(r.stdout+r.stderr, passphrase) {
					t.Errorf("%q: status %d, standard error %q", args, r.status, r.stderr)
				}
			}
		}
	})

	t.Run("what is said is a line that controls nothing and repeats no secret", func(t *testing.T) {
		var out bytes.Buffer
		p := Process{Name: "worker", Stderr: &out}
		p.Complain(errors.New("Redis says \x1b[2J\u202e\nenqueue: done \"" + testAPIKey + "\""))
		if want := "worker: Redis says ?[2J?\nworker: enqueue: done " + textsafe.NotRepeated + "\n"; out.String() != want {
			t.Errorf("said %q, want %q", out.String(), want)
		}
	})

	t.Run("--help shows defaults and commands, and no values of the environment", func(t *testing.T) {
		r := parse(t, &workerGrammar{}, map[string]string{"ADMIN_TOKEN": "hunter2"}, "--help")
		for _, want := range []string{"Collects.", "10m,1h,6h,24h", "Asia/Shanghai", "127.0.0.1:9090", "check"} {
			if !strings.Contains(r.stdout, want) {
				t.Errorf("%q is not in\n%s", want, r.stdout)
			}
		}
		if strings.Contains(r.stdout, "hunter2") {
			t.Error("a secret is in --help")
		}
	})

	t.Run("a variable set to nothing counts as not set", func(t *testing.T) {
		var s workerGrammar
		parse(t, &s, map[string]string{"CALL_TIMEOUT": "", "REDIS_URL": ""})
		if s.CallTimeout != 15*time.Second || s.RedisURL.IsSet() {
			t.Errorf("CALL_TIMEOUT is %s, want 15s; REDIS_URL is set: %v", s.CallTimeout, s.RedisURL.IsSet())
		}
	})

	t.Run("settings are taken by every command", func(t *testing.T) {
		var s workerGrammar
		if r := parse(t, &s, map[string]string{"MIN_GAP": "1s"}, "check", "--sweep-every=2s"); !r.ok {
			t.Fatal(r.stderr)
		}
		if s.MinGap != time.Second || s.SweepEvery != 2*time.Second {
			t.Errorf("MIN_GAP is %s, SWEEP_EVERY %s; want 1s and 2s", s.MinGap, s.SweepEvery)
		}
	})

	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"an unknown flag", []string{"--colour=red"}, "worker: unknown flag --colour"},
		{"a flag mistyped", []string{"--redis-ur=x"}, `did you mean one of "--redis-url"`},
		{"an unknown command", []string{"chek"}, "worker: unexpected argument chek"},
		{"a flag without its value", []string{"--redis-url"}, "--redis-url"},
	} {
		t.Run(tc.name+" ends with 2", func(t *testing.T) {
			r := parse(t, &workerGrammar{}, nil, tc.args...)
			if r.ok || r.status != ExitUsage || r.stdout != "" {
				t.Errorf("ok %v, status %d, standard output %q", r.ok, r.status, r.stdout)
			}
			if !strings.Contains(r.stderr, tc.want) || !strings.Contains(r.stderr, `Run "worker --help"`) {
				t.Errorf("standard error is %q, want %q in it", r.stderr, tc.want)
			}
		})
	}

	t.Run("--help wins over a mistake after it", func(t *testing.T) {
		var s struct {
			Sub struct {
				Needed string `arg:""`
			} `cmd:""`
		}
		if r := parse(t, &s, nil, "sub", "--help"); r.ok || r.status != ExitOK || r.stderr != "" {
			t.Errorf("status %d, standard error %q", r.status, r.stderr)
		}
	})
}
