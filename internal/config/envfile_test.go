package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A line is taken as it stands. What a shell would do to it is not done.
func TestParseEnvFile(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		want       map[string]string
	}{
		{"an address with &", "BILLING_WEBHOOK_URL=https://billing.example/hook?a=1&b=2\n", map[string]string{"BILLING_WEBHOOK_URL": "https://billing.example/hook?a=1&b=2"}},
		{"spaces", "COLLECT_SCHEDULE=10m, 1h\n", map[string]string{"COLLECT_SCHEDULE": "10m, 1h"}},
		{"one pair of quotes", "A='x y'\nB=\"x & y\"\nC=\"\"x\"\"\nD='\nE='x\"\n", map[string]string{"A": "x y", "B": "x & y", "C": `"x"`, "D": "'", "E": `'x"`}},
		{"quotes, $, \\ and # inside", `A=it's $5 \n #1` + "\n", map[string]string{"A": `it's $5 \n #1`}},
		{"further =", "A=b=c==\n", map[string]string{"A": "b=c=="}},
		{"comments and empty lines", "# A=1\n\n  # B=2\nC=3\n", map[string]string{"C": "3"}},
		{"export", "export A=1\n", map[string]string{"A": "1"}},
		{"an empty value", "A=\n", map[string]string{"A": ""}},
		{"the last of a name", "A=1\nA=2\n", map[string]string{"A": "2"}},
		{"Windows line ends and a byte order mark", "\ufeffA=1\r\nB=2\r\n", map[string]string{"A": "1", "B": "2"}},
		{"a last line without an end", "A=1", map[string]string{"A": "1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseEnvFile(tt.file)
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Errorf("%v; -want +got:\n%s", err, diff)
			}
		})
	}
	for name, file := range map[string]string{
		"a space before the =":  "A=1\nA SECRET =x\n",
		"no =":                  "A=1\nSECRET\n",
		"a key":                 "A=1\n-----BEGIN SECRET-----\n",
		"a NUL byte":            "A=1\nB=SECRET\x00\n",
		"UTF-16":                "A=1\nS\x00E\x00C\x00R\x00E\x00T\x00=\x00",
		"a name from elsewhere": "A=1\nÄ=SECRET\n",
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			_, err := parseEnvFile(file)
			if err == nil || !strings.Contains(err.Error(), "line 2") || strings.Contains(err.Error(), "SECRET") {
				t.Errorf("the error is %v; want the line named and not quoted", err)
			}
		})
	}
}

// Any value is kept, bare or in quotes.
func TestEnvFileKeepsAnyValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.StringMatching(`[ -~€中文]*`).Draw(t, "value")
		quote := rapid.SampledFrom([]string{"'", `"`}).Draw(t, "quote")
		got, err := parseEnvFile("BEFORE=1\nNAME=" + quote + want + quote + "\nAFTER=2\n")
		if err != nil || got["NAME"] != want || got["BEFORE"] != "1" || got["AFTER"] != "2" {
			t.Fatalf("%q in %s became %q (%v)", want, quote, got["NAME"], err)
		}
		bare := strings.TrimSpace(want)
		if got, err = parseEnvFile("NAME=" + bare); err != nil || got["NAME"] != unquoted(bare) {
			t.Fatalf("%q became %q (%v)", bare, got["NAME"], err)
		}
	})
}

func TestMerchantEnv(t *testing.T) {
	file := filepath.Join(t.TempDir(), "merchant.env")
	if err := os.WriteFile(file, []byte("COLLECT_RATE=7\nMIN_GAP=3m\nADMIN_ADDR=:9090\nHTTPS_PROXY=http://proxy:3128\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func(t *testing.T, env map[string]string, args ...string) WorkerSettings {
		t.Helper()
		var s struct{ WorkerSettings }
		if r := parse(t, &s, env, args...); !r.ok {
			t.Fatal(r.stderr)
		}
		return s.WorkerSettings
	}

	t.Run("a flag goes before the environment, the environment before the file, the file before the default", func(t *testing.T) {
		s := read(t, map[string]string{EnvFile: file, "MIN_GAP": "2m"})
		if s.Rate != 7 || s.MinGap != 2*time.Minute || s.CallTimeout != 15*time.Second {
			t.Errorf("COLLECT_RATE %v, MIN_GAP %s, CALL_TIMEOUT %s; want 7, 2m, 15s", s.Rate, s.MinGap, s.CallTimeout)
		}
		if s = read(t, map[string]string{EnvFile: file, "MIN_GAP": "2m"}, "--min-gap=1m"); s.MinGap != time.Minute {
			t.Errorf("MIN_GAP is %s; want the flag's 1m", s.MinGap)
		}
	})

	t.Run("what is set to nothing in the environment comes from the file", func(t *testing.T) {
		s := read(t, map[string]string{EnvFile: file, "COLLECT_RATE": "", "ADMIN_ADDR": ""})
		if s.Rate != 7 || s.AdminAddr != ":9090" {
			t.Errorf("COLLECT_RATE %v, ADMIN_ADDR %q; want the file's 7 and :9090", s.Rate, s.AdminAddr)
		}
	})

	t.Run("what else reads the environment finds the file's variables there, and nothing overwritten", func(t *testing.T) {
		applied := map[string]string{}
		env := map[string]string{EnvFile: file, "MIN_GAP": "2m", "ADMIN_ADDR": ""}
		_, err := Process{
			LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
			SetEnv:    func(name, value string) error { applied[name] = value; return nil },
		}.withEnvFile()
		want := map[string]string{"COLLECT_RATE": "7", "ADMIN_ADDR": ":9090", "HTTPS_PROXY": "http://proxy:3128"}
		if diff := cmp.Diff(want, applied); diff != "" || err != nil {
			t.Errorf("%v; -want +got:\n%s", err, diff)
		}
	})

	t.Run("a file that cannot be used ends the program in one sentence, --help apart", func(t *testing.T) {
		missing, directory := filepath.Join(t.TempDir(), "SECRET"), filepath.Join(t.TempDir(), "SECRET")
		if err := os.Mkdir(directory, 0o700); err != nil {
			t.Fatal(err)
		}
		large := filepath.Join(t.TempDir(), "SECRET")
		if err := os.WriteFile(large, make([]byte, envFileLimit+1), 0o600); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]string{missing: "does not exist: write the merchant's settings", directory: "cannot be read", large: "more than"} {
			var s struct{ WorkerSettings }
			r := parse(t, &s, map[string]string{EnvFile: path})
			if r.ok || r.status != ExitUsage || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, EnvFile+" names a file") || !strings.Contains(r.stderr, want) {
				t.Errorf("status %d, standard error %q; want %d and one line with %q", r.status, r.stderr, ExitUsage, want)
			}
			if strings.Contains(r.stderr, "SECRET") {
				t.Errorf("%q quotes the variable", r.stderr)
			}
			if r = parse(t, &s, map[string]string{EnvFile: path}, "--help"); r.status != ExitOK || r.stderr != "" {
				t.Errorf("--help ends with %d and %q", r.status, r.stderr)
			}
		}
	})
}
