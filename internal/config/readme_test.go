package config_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"payscore-collector/internal/config"
)

// root is the module's directory, seen from this one.
const root = "../.."

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// settings are the defaults of all environment variables that the flag groups
// declare; empty where there is none.
func settings() map[string]string {
	all := map[string]string{}
	worker := reflect.TypeFor[config.WorkerSettings]()
	for i := range worker.NumField() {
		group := worker.Field(i).Type
		for j := range group.NumField() {
			tag := group.Field(j).Tag
			all[tag.Get("env")] = tag.Get("default")
		}
	}
	// These have defaults that no tag can say, see the constants.
	all["WECHATPAY_BASE_URL"] = config.DefaultBaseURL
	all["WECHATPAY_BACKUP_URL"] = config.DefaultBackupURL
	all["ADMIN_ADDR"] = config.DefaultAdminAddr
	all["DATABASE_URL"] = "" // the sink's alone
	return all
}

// The README is what people set the worker up by, so it may not drift from the
// code.
func TestReadme(t *testing.T) {
	readme := read(t, "README.md")

	t.Run("has every setting with its default, and no other", func(t *testing.T) {
		_, section, _ := strings.Cut(readme, "\n## Settings\n")
		section, _, _ = strings.Cut(section, "\n## ")
		documented := map[string]string{}
		for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z0-9_]+)` \\| ([^|]*) \\|").FindAllStringSubmatch(section, -1) {
			documented[row[1]] = row[2]
		}
		for name, value := range settings() {
			shown, ok := documented[name]
			switch {
			case !ok:
				t.Errorf("%s is not in the table of settings", name)
			case value != "" && shown != "`"+value+"`":
				t.Errorf("%s has the default %s; the table says %s", name, value, shown)
			case value == "" && strings.Contains(shown, "`"):
				t.Errorf("%s has no default; the table says %s", name, shown)
			}
			delete(documented, name)
		}
		for name := range documented {
			t.Errorf("the table has %s, which no command reads", name)
		}
	})

	t.Run("names tests that exist", func(t *testing.T) {
		var code strings.Builder
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			code.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(readme, -1)
		if len(names) < 6 {
			t.Errorf("the README names %d tests; each of the six promises has one", len(names))
		}
		for _, name := range names {
			if !strings.Contains(code.String(), "func "+name+"(") {
				t.Errorf("there is no %s", name)
			}
		}
	})

	t.Run("links to files that exist", func(t *testing.T) {
		for _, link := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(readme, -1) {
			if _, err := os.Stat(filepath.Join(root, link[1])); err != nil {
				t.Errorf("the link %s leads nowhere: %v", link[1], err)
			}
		}
	})
}

// Whoever sets something in the environment of Compose expects it to arrive.
func TestComposePassesSettingsThrough(t *testing.T) {
	passed := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^      ([A-Z0-9_]+):`).FindAllStringSubmatch(read(t, "docker-compose.yml"), -1) {
		passed[row[1]] = true
	}
	all := settings()
	for name := range passed {
		if _, ok := all[name]; !ok && name != "MERCHANT_ENV" { // the image's own
			t.Errorf("docker-compose.yml passes %s, which no command reads", name)
		}
	}
	for _, group := range []reflect.Type{reflect.TypeFor[config.WorkerFlags](), reflect.TypeFor[config.LogFlags]()} {
		for i := range group.NumField() {
			name := group.Field(i).Tag.Get("env")
			unserved := name == "ADMIN_TOKEN"
			if !passed[name] && !unserved {
				t.Errorf("docker-compose.yml does not pass %s", name)
			}
		}
	}
}
