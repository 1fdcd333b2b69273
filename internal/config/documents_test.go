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
// declare, which may be empty.
func settings() map[string]string {
	all := map[string]string{}
	for _, d := range config.AllDeclared() {
		all[d.Name] = d.Default
	}
	// These have defaults that no tag can say, see the constants.
	all["WECHATPAY_BASE_URL"] = config.DefaultBaseURL
	all["WECHATPAY_BACKUP_URL"] = config.DefaultBackupURL
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

// People set the worker up by these documents, so they must not drift from the
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
		for _, name := range []string{"README.md", "README.zh-CN.md"} {
			if n := len(docs[name]); n > 10_000 {
				t.Errorf("%s has %d bytes; a newcomer reads ten thousand at most", name, n)
			}
		}
	})

	t.Run("say in Chinese what they say in English", func(t *testing.T) {
		pairs := map[string]string{"README.zh-CN.md": "README.md"}
		for name := range docs {
			if base, ok := strings.CutPrefix(name, "docs/zh-CN/"); ok {
				pairs[name] = "docs/" + base
			}
		}
		if len(pairs) < 5 {
			t.Fatalf("found %d Chinese documents", len(pairs))
		}
		for chinese, english := range pairs {
			c, e := outlineOf(docs[chinese]), outlineOf(docs[english])
			if !slices.Equal(c.levels, e.levels) {
				t.Errorf("%s has headings of the levels %d; %s has %d", chinese, c.levels, english, e.levels)
			}
			differ(t, chinese, english, "table row", c.columns, e.columns)
			differ(t, chinese, english, "block of commands", c.blocks, e.blocks)
			// States, reasons, settings, metrics, events and the words of logs.
			for _, span := range e.spans {
				if !slices.Contains(c.spans, span) {
					t.Errorf("%s does not have %s, which stands in %s", chinese, span, english)
				}
			}
		}
	})
}

// differ tells the first of the things in which a document and its translation differ.
func differ(t *testing.T, chinese, english, what string, c, e []string) {
	t.Helper()
	for i := range max(len(c), len(e)) {
		switch {
		case i >= len(c):
			t.Errorf("%s lacks the last %d of %s: %s %d is %q", chinese, len(e)-i, english, what, i+1, e[i])
		case i >= len(e):
			t.Errorf("%s has %d more than %s: %s %d is %q", chinese, len(c)-i, english, what, i+1, c[i])
		case c[i] != e[i]:
			t.Errorf("%s %d of %s is %q, and %q in %s", what, i+1, chinese, c[i], e[i], english)
		default:
			continue
		}
		return
	}
}

// outline is what a document and its translation have in common.
type outline struct {
	levels  []int    // of the headings
	columns []string // the code in the first column of each table row
	blocks  []string // of commands, without comments
	spans   []string // of code in the text
}

func outlineOf(text string) outline {
	var o outline
	blocks := regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")
	for _, block := range blocks.FindAllStringSubmatch(text, -1) {
		if picture := block[1] == "" && strings.Contains(block[2], "──▶"); !picture {
			o.blocks = append(o.blocks, regexp.MustCompile(`(?m)\s*(^|\s)#.*$`).ReplaceAllString(block[2], ""))
		}
	}
	code := regexp.MustCompile("`[^`\n]+`")
	for _, line := range strings.Split(blocks.ReplaceAllString(text, ""), "\n") {
		if level := strings.IndexFunc(line, func(r rune) bool { return r != '#' }); level > 0 {
			o.levels = append(o.levels, level)
		}
		if cell, ok := strings.CutPrefix(line, "| "); ok {
			cell, _, _ = strings.Cut(cell, " | ")
			o.columns = append(o.columns, strings.Join(code.FindAllString(cell, -1), " "))
		}
		o.spans = append(o.spans, code.FindAllString(line, -1)...)
	}
	return o
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

// A setting in the environment of Compose must reach the worker.
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
	for _, group := range []reflect.Type{reflect.TypeFor[config.Work](), reflect.TypeFor[config.WebhookFlags](), reflect.TypeFor[config.Log]()} {
		for i := range group.NumField() {
			name := group.Field(i).Tag.Get("env")
			if name != "" && !passed[name] {
				t.Errorf("docker-compose.yml does not pass %s", name)
			}
		}
	}
}

// A newcomer finds every package in CONTRIBUTING.md, and every event that needs a
// person in the list of log events.
func TestContributingAndRunbookAreComplete(t *testing.T) {
	contributing := read(t, "CONTRIBUTING.md")
	for _, parent := range []string{"internal", "test", "tools"} {
		packages, err := os.ReadDir(filepath.Join(root, parent))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range packages {
			if name := "`" + parent + "/" + p.Name() + "/`"; !strings.Contains(contributing, name) {
				t.Errorf("CONTRIBUTING.md does not have the package %s", name)
			}
		}
	}
	logs := read(t, "docs/logs.md")
	events := regexp.MustCompile("(?m)^### `(\\w+)`$").FindAllStringSubmatch(read(t, "docs/runbook.md"), -1)
	if len(events) < 20 {
		t.Errorf("docs/runbook.md has sections for %d events, want at least 20", len(events))
	}
	for _, e := range events {
		if !strings.Contains(logs, "\n| `"+e[1]+"` |") {
			t.Errorf("docs/runbook.md has a section for the event %s, and docs/logs.md no row", e[1])
		}
	}
}

// Operators change orders and merchants by commands, which record who did it. Only Redis's
// own settings are changed with redis-cli.
func TestDocuments_NoRedisCLI(t *testing.T) {
	ofRedis := regexp.MustCompile(`redis-cli( -u "\$REDIS_URL")? (CONFIG|CLUSTER|INFO|PING|SCRIPT|ACL)\b`)
	for name, text := range documents(t) {
		if name == "CHANGELOG.md" {
			continue // which says what the commands replace
		}
		for line := range strings.Lines(ofRedis.ReplaceAllString(text, "")) {
			if strings.Contains(line, "redis-cli") {
				t.Errorf("%s asks for redis-cli, where a command records who did it: %s", name, line)
			}
		}
	}
}
