package config_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A private key in a checkout is one "git add ." away from being published.
func TestKeysAndLeftoversAreIgnored(t *testing.T) {
	files := []string{
		"apiclient_key.pem", "deploy/pub_key.pem", "apiclient_cert.p12", "a/server.key", ".env", ".env.production", "merchant.env", "deploy/merchant.env",
		".merchant/api_v3_key", ".sim/platform_key.pem", "receiver.py",
	}
	// What the documentation's shell blocks write.
	written := regexp.MustCompile(`(?m)(?:>>?|--dir|--rejects|mkdir -p|build -o) ([\w.][\w./-]*)`)
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```")
	for name, text := range documents(t) {
		for _, block := range blocks.FindAllStringSubmatch(text, -1) {
			for _, file := range written.FindAllStringSubmatch(block[1], -1) {
				t.Logf("%s writes %s", name, file[1])
				files = append(files, file[1])
			}
		}
	}
	for _, known := range []string{"orders.csv", "events.ndjson", "paid.csv", ".webhook-secret", ".redis"} {
		if !slices.Contains(files, known) {
			t.Errorf("the documentation does not write %s any more, or this test does not see it", known)
		}
	}

	t.Run("by git", func(t *testing.T) {
		if out, err := exec.Command("git", "-C", root, "rev-parse", "--is-inside-work-tree").CombinedOutput(); err != nil {
			t.Skipf("no git, or no checkout: %v %s", err, out)
		}
		for _, file := range files {
			path := file
			if strings.HasPrefix(file, ".redis") || strings.HasPrefix(file, ".sim") || strings.HasPrefix(file, ".merchant") || file == "bin/" {
				path = filepath.Join(file, "x") // a directory
			}
			if err := exec.Command("git", "-C", root, "check-ignore", "-q", "--no-index", path).Run(); err != nil {
				t.Errorf("git does not ignore %s: %v", file, err)
			}
		}
	})

	t.Run("by the image's build", func(t *testing.T) {
		lines := strings.Split(strings.TrimSpace(read(t, ".dockerignore")), "\n")
		lines = slices.DeleteFunc(lines, func(l string) bool { return l == "" || l[0] == '#' })
		if lines[0] != "*" {
			t.Fatalf(".dockerignore begins with %q, and not by leaving everything out", lines[0])
		}
		for _, line := range lines {
			taken, ok := strings.CutPrefix(line, "!")
			if ok && slices.ContainsFunc(files, func(f string) bool { return f == taken || strings.HasPrefix(f, taken+"/") }) {
				t.Errorf(".dockerignore takes %s", taken)
			}
		}
		for _, kind := range []string{"**/*.pem", "**/*.key", "**/*.env"} {
			if !slices.Contains(lines, kind) {
				t.Errorf(".dockerignore takes %s inside of what it takes", kind)
			}
		}
	})
}

// The keys that are in the checkout while this runs are not in its index either.
func TestNoKeyIsCommitted(t *testing.T) {
	out, err := exec.Command("git", "-C", root, "ls-files").Output()
	if err != nil {
		t.Skip("no git, or no checkout: ", err)
	}
	for file := range strings.Lines(string(out)) {
		file = strings.TrimSpace(file)
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			continue // deleted, and not committed yet
		}
		if regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}`).Match(text) {
			t.Errorf("%s holds a private key", file)
		}
	}
}
