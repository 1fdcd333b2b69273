package console

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"payscore-collector/internal/api"
	"payscore-collector/internal/config"
	"payscore-collector/tasks"
)

// Every key has words in both languages, that fill in the same facts, and every key that a
// page or the code names exists; none is left over.
func TestWords(t *testing.T) {
	verbs := regexp.MustCompile(`%(\[\d+\])?[a-z]`)
	for key, words := range table {
		switch en, zh := words[0], words[1]; {
		case zh == "" || en == "":
			t.Errorf("%s lacks a language", key)
		case !slices.Equal(verbs.FindAllString(en, -1), verbs.FindAllString(zh, -1)):
			t.Errorf("%s has other verbs in Chinese: %q, %q", key, en, zh)
		case strings.ContainsFunc(en, func(r rune) bool { return unicode.Is(unicode.Han, r) }):
			t.Errorf("the English words of %s are Chinese: %q", key, en)
		}
	}

	used := map[string]bool{}
	literal := regexp.MustCompile(`(?:\bt|\.word\(|\bsorted \$b "[a-z]+")\s*"([a-z_.-]+)"`)
	read := func(name, text string) {
		for _, m := range literal.FindAllStringSubmatch(text, -1) {
			used[m[1]] = true
			if _, ok := table[m[1]]; !ok && !strings.HasSuffix(m[1], ".") {
				t.Errorf("%s names %s, which has no words", name, m[1])
			}
		}
	}
	err := fs.WalkDir(templateFiles, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := templateFiles.ReadFile(path)
		read(path, string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sources {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		read(name, string(text))
	}
	// Keys that are put together.
	for _, page := range navigation {
		used["nav."+page] = true
	}
	for _, role := range config.Roles {
		used["role."+string(role)] = true
	}
	for _, state := range tasks.States {
		used["state."+string(state)] = true
	}
	for _, done := range []map[string]bool{orderActions, merchantActions, streamActions} {
		for action := range maps.Keys(done) {
			used["done."+action] = true
		}
	}
	for action := range orderActions {
		used["act."+action] = true
	}
	for _, hold := range holdStates(t) {
		used["hold."+hold] = true
	}
	source, ok := reflect.TypeFor[api.SourceCount]().FieldByName("By")
	if !ok {
		t.Fatal("api.SourceCount has no By")
	}
	for by := range strings.SplitSeq(source.Tag.Get("enum"), ",") {
		used["recovery.by."+by], used["recovery.rule."+by] = true, true
	}
	for status := range 600 {
		used["problem.status."+statusClass(status)] = true
	}
	for key := range used {
		if _, ok := table[key]; !ok && !strings.HasSuffix(key, ".") {
			t.Errorf("%s has no words", key)
		}
	}
	for key := range table {
		if !used[key] {
			t.Errorf("%s is not used", key)
		}
	}
}

// holdStates are the states of a hold that the API can answer.
func holdStates(t *testing.T) []string {
	t.Helper()
	field, ok := reflect.TypeFor[api.HoldView]().FieldByName("State")
	if !ok {
		t.Fatal("api.HoldView has no State")
	}
	return strings.Split(field.Tag.Get("enum"), ",")
}
