package config

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestReadAPITokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	const digest = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae" // of foo
	good := "- {name: a, role: viewer, token_sha256: " + digest + "}\n"
	for name, c := range map[string]struct {
		text string
		want []string // parts of the error
	}{
		"one token":              {good, nil},
		"with merchants":         {"- {name: a@b.c, role: operator, token_sha256: \"" + strings.ToUpper(digest) + "\", mchids: [\"1900000001\", 1900000002]}\n", nil},
		"no token":               {"[]\n", []string{"not a list of tokens"}},
		"not a list":             {"name: a\n", []string{"not a list of tokens"}},
		"an item that is a text": {"- a\n", []string{"line 1", "not a mapping"}},
		"an unknown key":         {"- {name: a, role: viewer, token_sha256: " + digest + ", roles: x}\n", []string{"line 1", "roles is unknown", "mchids"}},
		"the token itself":       {"- {name: a, role: viewer, token: foo}\n", []string{"key token is unknown", "token_sha256"}},
		"no role":                {"- {name: a, token_sha256: " + digest + "}\n", []string{"role is missing"}},
		"a wrong role":           {"- {name: a, role: admin, token_sha256: " + digest + "}\n", []string{`role is "admin"`, "operator"}},
		"a digest that is none":  {"- {name: a, role: viewer, token_sha256: secret}\n", []string{"64 hexadecimal digits"}},
		"a name twice":           {good + good, []string{"line 2", "as on line 1"}},
		"a key twice":            {"- {name: a, name: b, role: viewer, token_sha256: " + digest + "}\n", []string{"name is there twice"}},
		"a wrong name":           {"- {name: a b, role: viewer, token_sha256: " + digest + "}\n", []string{"name is"}},
		"the name local":         {"- {name: local, role: viewer, token_sha256: " + digest + "}\n", []string{"without a token"}},
		"a wrong merchant":       {"- {name: a, role: viewer, token_sha256: " + digest + ", mchids: [x]}\n", []string{"mchids", "digits"}},
		"no merchant":            {"- {name: a, role: viewer, token_sha256: " + digest + ", mchids: []}\n", []string{"mchids is not a list"}},
		"two faults":             {"- {name: a}\n- {role: viewer}\n", []string{"line 1", "line 2"}},
		"no YAML":                {"- {name: a\n", []string{"not valid YAML"}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			tokens, _, err := ReadAPITokens(path)
			if (err != nil) != (c.want != nil) {
				t.Fatalf("%v", err)
			}
			for _, part := range append(c.want, "names "+path)[:len(c.want)] {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is missing in: %v", part, err)
				}
			}
			if err == nil && (len(tokens) != 1 || tokens[0].SHA256 != sha256.Sum256([]byte("foo"))) {
				t.Errorf("%+v", tokens)
			}
		})
	}
	if _, _, err := ReadAPITokens(path + ".none"); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("%v", err)
	}
}

// What worker token prints can be read, and its token is not in it.
func TestNewAPIToken(t *testing.T) {
	token, item, err := NewAPIToken("anna@shop", Billing, []string{"1900000001", "1900000002"})
	if err != nil || strings.Contains(item, token) || len(token) < 40 {
		t.Fatal(token, item, err)
	}
	other, _, _ := NewAPIToken("anna@shop", Billing, nil)
	if other == token {
		t.Error("two tokens are equal")
	}
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	if err := os.WriteFile(path, []byte(item+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, _, err := ReadAPITokens(path)
	if err != nil || len(tokens) != 1 {
		t.Fatal(tokens, err)
	}
	got := tokens[0]
	if got.Name != "anna@shop" || got.Role != Billing || got.SHA256 != sha256.Sum256([]byte(token)) || !slices.Equal(got.MchIDs, []string{"1900000001", "1900000002"}) {
		t.Errorf("%+v", got)
	}
	for _, bad := range []func() (string, string, error){
		func() (string, string, error) { return NewAPIToken("", Viewer, nil) },
		func() (string, string, error) { return NewAPIToken("a", "king", nil) },
		func() (string, string, error) { return NewAPIToken("a", Viewer, []string{"x"}) },
	} {
		if _, _, err := bad(); err == nil {
			t.Error("a wrong token was made")
		}
	}
}

func TestRole_Can(t *testing.T) {
	if !Operator.Can(Viewer) || !Billing.Can(Billing) || Viewer.Can(Billing) || Role("").Can(Viewer) || Role("king").Can(Viewer) {
		t.Error("a role may do what it must not, or not what it may")
	}
}

func TestSettings_APITokens(t *testing.T) {
	env := goodEnv(t)
	env["API_TOKENS_FILE"] = filepath.Join(t.TempDir(), "none.yaml")
	env["ADMIN_TOKEN"] = "short"
	w, err := loadWorker(t, env)
	wantProblems(t, err, `API_TOKENS_FILE names "`+env["API_TOKENS_FILE"]+`", which does not exist`)
	if !slices.ContainsFunc(w.Warnings, func(s string) bool { return strings.HasPrefix(s, "ADMIN_TOKEN has 5 characters") }) {
		t.Errorf("%v", w.Warnings)
	}
}
