package config_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
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
	for _, d := range config.AllDeclared() {
		all[d.Name] = d.Default
	}
	// These have defaults that no tag can say, see the constants.
	all["WECHATPAY_BASE_URL"] = config.DefaultBaseURL
	all["WECHATPAY_BACKUP_URL"] = config.DefaultBackupURL
	all["ADMIN_ADDR"] = config.DefaultAdminAddr
	return all
}

// documents are the Markdown files of the project, by their paths from its root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			name, err := filepath.Rel(root, file)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = read(t, name)
		}
	}
	if len(all) < 10 {
		t.Fatalf("found %d documents", len(all))
	}
	return all
}

// People set the worker up by these documents, so they may not drift from the
// code.
func TestDocuments(t *testing.T) {
	docs := documents(t)

	t.Run("have every setting with its default, and no other", func(t *testing.T) {
		documented := map[string]string{}
		for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z0-9_]+)` \\| ([^|]*) \\|").FindAllStringSubmatch(docs["docs/configuration.md"], -1) {
			documented[row[1]] = row[2]
		}
		for name, value := range settings() {
			shown, ok := documented[name]
			switch {
			case !ok:
				t.Errorf("docs/configuration.md has no row for %s", name)
			case value != "" && shown != "`"+value+"`":
				t.Errorf("%s has the default %s; docs/configuration.md says %s", name, value, shown)
			case value == "" && strings.Contains(shown, "`"):
				t.Errorf("%s has no default; docs/configuration.md says %s", name, shown)
			}
			delete(documented, name)
		}
		for name := range documented {
			t.Errorf("docs/configuration.md has %s, which no command reads", name)
		}
	})

	t.Run("name tests that exist", func(t *testing.T) {
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
		for file, text := range docs {
			names := regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(text, -1)
			if file == "docs/promises.md" && len(names) < 6 {
				t.Errorf("%s names %d tests; each of the six promises has one", file, len(names))
			}
			for _, name := range names {
				if !strings.Contains(code.String(), "func "+name+"(") {
					t.Errorf("%s names %s, which does not exist", file, name)
				}
			}
		}
	})

	t.Run("link to files and headings that exist", func(t *testing.T) {
		for file, text := range docs {
			for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(text, -1) {
				path, anchor, _ := strings.Cut(link[1], "#")
				if strings.Contains(path, ":") {
					continue
				}
				target := file
				if path != "" {
					target = filepath.Join(filepath.Dir(file), path)
				}
				if _, err := os.Stat(filepath.Join(root, target)); err != nil {
					t.Errorf("%s: the link %s leads nowhere: %v", file, link[1], err)
				} else if anchor != "" && !slices.Contains(anchors(docs[target]), anchor) {
					t.Errorf("%s: %s has no heading for the link %s", file, target, link[1])
				}
			}
		}
	})

	t.Run("are short where a newcomer begins", func(t *testing.T) {
		if n := len(docs["README.md"]); n > 10_000 {
			t.Errorf("README.md has %d bytes; a newcomer reads ten thousand at most", n)
		}
	})
}

// anchors are the names that links use for the headings of a document.
func anchors(text string) []string {
	var all []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
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
			unserved := strings.HasPrefix(name, "ADMIN_TOKEN")
			if !passed[name] && !unserved {
				t.Errorf("docker-compose.yml does not pass %s", name)
			}
		}
	}
}
